-- Inserted without a lock; `xid` gives readers and the sealing tick a commit-safe order.
create table audit_rows (
  id uuid primary key,
  xid xid8 not null default pg_current_xact_id(),
  at timestamptz not null default clock_timestamp(),
  actor_kind text not null check (actor_kind in ('user', 'api_token', 'agent', 'system')),
  actor_id uuid,
  actor_name text not null default '',
  action text not null,
  target_kind text not null default '',
  target_id text not null default '',
  site_id uuid,
  address text not null default '',
  request_id text not null default '',
  detail jsonb not null default '{}'
);
create index audit_rows_order on audit_rows (xid, id);
create index audit_rows_at on audit_rows (at desc, id desc);

create table audit_segments (
  id uuid primary key,
  first_row_id uuid not null,
  last_row_id uuid not null,
  row_count integer not null,
  sha256 text not null,
  previous_sha256 text not null,
  signature text not null,
  sealed_at timestamptz not null default now()
);
