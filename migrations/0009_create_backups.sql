-- Content-addressed per site; zstd, then AES-256-GCM under a key that never stands in the database.
create table blobs (
  site_id uuid not null,
  sha256 text not null,
  bytes integer not null,
  kek_id text not null,
  wrapped_key bytea not null,
  nonce bytea not null,
  ciphertext bytea not null,
  created_at timestamptz not null default now(),
  primary key (site_id, sha256)
);
alter table blobs alter column ciphertext set storage external;

-- What arrived under which lease: a result may name nothing else (or a revision of the same device).
create table uploads (
  lease_id uuid not null,
  sha256 text not null,
  site_id uuid not null,
  received_at timestamptz not null default now(),
  primary key (lease_id, sha256)
);

-- Append only: one row per attempt on a device that said something about its configuration.
create table backups (
  id uuid not null,
  site_id uuid not null,
  device_id uuid not null,
  job_id uuid not null,
  epoch integer not null,
  agent_id uuid not null,
  status text not null check (status in ('verified', 'quarantined', 'failed')),
  failure_code text,
  failure_detail text,
  captures jsonb not null default '[]',
  facts jsonb not null default '{}',
  algorithms jsonb,
  late boolean not null default false,
  duration_ms integer not null,
  received_at timestamptz not null default clock_timestamp(),
  primary key (id, received_at)
) partition by range (received_at);
create table backups_default partition of backups default;
create index backups_device on backups (site_id, device_id, id desc);
select ensure_weekly_partitions('backups', 4);

-- A distinct configuration of one capture of a device, in the order in which it was seen.
create table revisions (
  id uuid primary key,
  site_id uuid not null,
  device_id uuid not null references devices on delete cascade,
  capture text not null,
  -- Whose rules redact it, also after the device was given another platform.
  platform text not null,
  number integer not null,
  state text not null check (state in ('accepted', 'quarantined', 'rejected')),
  raw_sha256 text not null,
  normalised_sha256 text not null,
  normaliser_version integer not null,
  grade text not null check (grade in ('marker', 'structure', 'two-read', 'prompt')),
  bytes integer not null,
  lines integer not null,
  backup_id uuid not null,
  first_seen_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  decided_at timestamptz,
  decided_by uuid,
  unique (device_id, capture, number)
);
-- The same digest that is quarantined again is the same entry.
create unique index revisions_quarantined on revisions (device_id, capture, normalised_sha256)
  where state = 'quarantined';
create index revisions_blob on revisions (site_id, raw_sha256);
create index revisions_newest on revisions (device_id, id desc);
create index revisions_waiting on revisions (id desc) where state = 'quarantined';
create index revisions_device_digest on revisions (device_id, raw_sha256);

-- The redacted text of the newest accepted revision, for reading and searching.
create table current_texts (
  device_id uuid not null references devices on delete cascade,
  capture text not null,
  site_id uuid not null,
  revision_id uuid not null references revisions on delete cascade,
  text text not null,
  primary key (device_id, capture)
);

-- Written in the transaction that accepts a result; pages never count over history.
create table device_status (
  device_id uuid primary key references devices on delete cascade,
  site_id uuid not null,
  last_attempt_at timestamptz,
  last_outcome text check (last_outcome in ('verified', 'quarantined', 'failed')),
  last_verified_at timestamptz,
  failure_code text,
  failure_detail text,
  failing_since timestamptz,
  failure_streak integer not null default 0,
  grade text,
  revision_id uuid,
  unsaved boolean,
  facts jsonb not null default '{}',
  algorithms jsonb
);
create index device_status_site on device_status (site_id, last_verified_at);
