-- Long work of the control plane itself. Whoever raises `fence` has the task until `leased_until`, and every write names
-- the fence, so that one who was taken for dead writes nothing more.
create table tasks (
  id uuid primary key,
  kind text not null,
  state text not null default 'waiting'
    check (state in ('waiting', 'running', 'completed', 'failed', 'cancelled')),
  -- Where the next batch begins; null at the start.
  cursor jsonb,
  done bigint not null default 0,
  -- What was there when it began: an estimate, for people.
  total bigint,
  error text,
  -- In a row; a batch that succeeds sets it back.
  failures integer not null default 0,
  fence integer not null default 0,
  leased_until timestamptz not null default '2000-01-01T00:00:00Z',
  requested_by text not null default '',
  created_at timestamptz not null default now(),
  started_at timestamptz,
  ended_at timestamptz
);
create index tasks_open on tasks (created_at) where state in ('waiting', 'running');
