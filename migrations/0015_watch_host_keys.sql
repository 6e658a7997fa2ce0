-- Which agent ever held which credential, by version: what a revocation asks for, without reading every delivery.
create table credential_holders (
  credential_id uuid not null,
  agent_id uuid not null,
  version integer not null,
  site_id uuid not null,
  thumbprint text not null,
  deliveries bigint not null default 1,
  first_at timestamptz not null default clock_timestamp(),
  last_at timestamptz not null default clock_timestamp(),
  primary key (credential_id, agent_id, version, site_id, thumbprint)
);
create index credential_holders_agent on credential_holders (agent_id, credential_id, version);
insert into credential_holders
  select credential_id, agent_id, version, site_id, thumbprint, count(*), min(at), max(at)
  from secret_deliveries group by credential_id, agent_id, version, site_id, thumbprint;

-- A change of host keys that is expected: while it is open, the first changed key of each device is accepted.
create table host_key_windows (
  id uuid primary key,
  site_id uuid not null references sites on delete cascade,
  -- Null: every device of the site.
  device_id uuid references devices on delete cascade,
  opened_at timestamptz not null default now(),
  closes_at timestamptz not null,
  closed_at timestamptz,
  created_by uuid
);
create index host_key_windows_site on host_key_windows (site_id, closes_at);
create table host_key_window_uses (
  window_id uuid not null references host_key_windows on delete cascade,
  device_id uuid not null references devices on delete cascade,
  host_key_id uuid not null,
  used_at timestamptz not null default clock_timestamp(),
  primary key (window_id, device_id)
);

alter table host_keys drop constraint host_keys_source_check;
alter table host_keys add constraint host_keys_source_check
  check (source in ('first_use', 'reported', 'administrator', 'known_hosts', 'window'));
drop index host_keys_waiting;
create index host_keys_waiting on host_keys (site_id, id) where state = 'pending';
