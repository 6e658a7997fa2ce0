create table credentials (
  id uuid primary key,
  tenant_id uuid not null references tenants,
  name text not null,
  username text not null,
  current_version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index credentials_name on credentials (tenant_id, lower(name));

-- The secrets of one version as AES-256-GCM under a data key of its own; the data key is wrapped by `kek_id`,
-- a key that never stands in the database.
create table credential_versions (
  credential_id uuid not null references credentials on delete cascade,
  version integer not null,
  kek_id text not null,
  wrapped_key bytea not null,
  nonce bytea not null,
  ciphertext bytea not null,
  has_password boolean not null,
  has_private_key boolean not null,
  has_enable_secret boolean not null,
  state text not null default 'fresh' check (state in ('fresh', 'proven', 'suspect', 'quarantined')),
  created_at timestamptz not null default now(),
  primary key (credential_id, version)
);
