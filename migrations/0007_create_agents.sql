create table agents (
  id uuid primary key,
  tenant_id uuid not null references tenants,
  name text not null,
  status text not null default 'active' check (status in ('pending', 'active', 'locked', 'revoked')),
  sign_jwk jsonb not null,
  seal_jwk jsonb not null,
  -- RFC 7638 thumbprint of sign_jwk: what an agent's proofs are looked up by.
  thumbprint text not null unique,
  session_sequence integer not null default 0,
  version text not null default '',
  -- Digests of the drivers it can run, by platform; a claim grants nothing else.
  drivers jsonb not null default '{}',
  enrolled_at timestamptz not null default now(),
  revoked_at timestamptz
);
create unique index agents_name on agents (tenant_id, lower(name)) where status <> 'revoked';

create table agent_sites (
  agent_id uuid not null references agents on delete cascade,
  site_id uuid not null references sites on delete cascade,
  primary key (agent_id, site_id)
);
create index agent_sites_site on agent_sites (site_id, agent_id);

-- One row per agent, rewritten by every heartbeat, so narrow and unindexed but for its key: updates stay HOT.
create table agent_sessions (
  agent_id uuid primary key,
  boot_id uuid not null,
  capacity integer not null,
  ttl_seconds integer not null,
  opened_at timestamptz not null default now(),
  seen_at timestamptz not null default now(),
  expires_at timestamptz not null
) with (fillfactor = 50);

create table join_tokens (
  id uuid primary key,
  tenant_id uuid not null references tenants,
  secret_sha256 text not null unique,
  agent_name text not null,
  site_ids uuid[] not null check (cardinality(site_ids) > 0),
  created_by uuid,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  used_at timestamptz,
  used_by_thumbprint text,
  agent_id uuid references agents
);

-- Append only: which agent has ever held which credential, the worklist after a revocation.
create table secret_deliveries (
  id uuid primary key,
  site_id uuid not null,
  credential_id uuid not null,
  version integer not null,
  agent_id uuid not null,
  thumbprint text not null,
  lease_id uuid not null,
  at timestamptz not null default now()
);
create index secret_deliveries_agent on secret_deliveries (agent_id, credential_id);
