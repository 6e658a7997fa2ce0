create table devices (
  id uuid primary key,
  site_id uuid not null references sites,
  name text not null,
  host text not null,
  port integer not null default 22 check (port between 1 and 65535),
  platform text not null,
  credential_id uuid references credentials,
  legacy_algorithms boolean not null default false,
  connect_seconds integer not null default 20 check (connect_seconds between 1 and 300),
  idle_seconds integer not null default 60 check (idle_seconds between 1 and 600),
  total_seconds integer not null default 600 check (total_seconds between 1 and 3600),
  max_bytes integer not null default 20971520 check (max_bytes between 1024 and 104857600),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  archived_at timestamptz
);
create unique index devices_name on devices (site_id, lower(name)) where archived_at is null;
create unique index devices_address on devices (site_id, lower(host), port) where archived_at is null;
create index devices_credential on devices (credential_id);

create table tags (
  id uuid primary key,
  tenant_id uuid not null references tenants,
  name text not null,
  created_at timestamptz not null default now()
);
create unique index tags_name on tags (tenant_id, lower(name));
create table device_tags (
  device_id uuid not null references devices on delete cascade,
  tag_id uuid not null references tags on delete cascade,
  primary key (device_id, tag_id)
);
create index device_tags_tag on device_tags (tag_id, device_id);

-- Every host key a device has shown: the accepted ones are its pins, a changed one waits as `pending`.
create table host_keys (
  id uuid primary key,
  site_id uuid not null,
  device_id uuid not null references devices on delete cascade,
  key_type text not null,
  fingerprint text not null,
  state text not null check (state in ('accepted', 'pending', 'rejected')),
  source text not null check (source in ('first_use', 'reported', 'administrator')),
  first_seen_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  decided_at timestamptz,
  decided_by uuid,
  unique (device_id, fingerprint)
);
create index host_keys_waiting on host_keys (site_id, first_seen_at) where state = 'pending';
