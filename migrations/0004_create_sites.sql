create table tenants (
  id uuid primary key,
  name text not null,
  created_at timestamptz not null default now()
);
create unique index tenants_name on tenants (lower(name));

insert into tenants (id, name) values (gen_random_uuid(), 'Default');

create table sites (
  id uuid primary key,
  tenant_id uuid not null references tenants,
  name text not null,
  time_zone text not null default 'UTC',
  host_key_policy text not null default 'first_use' check (host_key_policy in ('first_use', 'strict')),
  max_live integer not null default 10 check (max_live between 1 and 1000),
  max_queued integer not null default 10000 check (max_queued between 1 and 1000000),
  lease_ttl_seconds integer not null default 180 check (lease_ttl_seconds between 30 and 1800),
  shrink_percent integer not null default 50 check (shrink_percent between 1 and 100),
  paused boolean not null default false,
  -- Rises when work is put before the head of the queue, so that no replica's claim floor can hide it.
  queue_version integer not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index sites_name on sites (tenant_id, lower(name));
