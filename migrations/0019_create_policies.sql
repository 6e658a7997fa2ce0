-- What to do, for which devices, and when.
create table policies (
  id uuid primary key,
  name text not null,
  enabled boolean not null default true,
  kind text not null,
  payload jsonb not null,
  -- Rule and zone, as shared/schedules reads them.
  schedule jsonb not null,
  selection jsonb not null,
  -- The sites that the selection can reach: who does not see all of them does not see the policy. Null: every site.
  site_ids uuid[],
  priority smallint not null default 0 check (priority between -100 and 100),
  urgency text not null default 'normal' check (urgency in ('normal', 'bulk')),
  jitter_minutes integer not null default 0 check (jitter_minutes between 0 and 1440),
  blackouts jsonb not null default '[]',
  misfire text not null default 'once' check (misfire in ('skip', 'once')),
  start_within_minutes integer check (start_within_minutes between 1 and 10080),
  total_seconds integer check (total_seconds between 1 and 3600),
  -- The next run; who decides it holds the row and moves this forward. Null: none will come.
  next_at timestamptz,
  created_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- Kept for the ledger; to everybody else it is gone.
  deleted_at timestamptz
);
create index policies_next on policies (next_at) where next_at is not null;

-- The ledger: one row for each run of a policy, whatever became of it. `key` is what the run is called by the wall clock,
-- so that one whose instant is computed anew, by other rules of its time zone, is still the same.
create table occurrences (
  id uuid primary key,
  policy_id uuid not null references policies on delete cascade,
  key text not null,
  at timestamptz not null,
  trigger text not null check (trigger in ('schedule', 'manual', 'change')),
  -- Null while sites still have their share before them.
  decision text check (decision in ('ran', 'coalesced', 'skipped')),
  reason text check (reason in ('missed', 'blackout', 'disabled', 'queue_full', 'no_device', 'unsupported')),
  -- Devices: with a job of this run, with one that was open already, and with none.
  jobs integer not null default 0,
  coalesced integer not null default 0,
  skipped integer not null default 0,
  -- When its jobs are due, and how far they are spread from there.
  due_at timestamptz not null,
  jitter_seconds integer not null default 0,
  requested_by uuid,
  decided_at timestamptz not null,
  unique (policy_id, key)
);
create index occurrences_newest on occurrences (policy_id, id desc);
create index occurrences_decided on occurrences (decided_at);

-- What a run still has before it, site by site; a row is gone when its devices have their jobs.
create table occurrence_sites (
  site_id uuid not null,
  occurrence_id uuid not null references occurrences on delete cascade,
  policy_id uuid not null,
  -- Null: all that are selected.
  device_ids uuid[],
  -- Devices up to this one are done.
  after_device_id uuid,
  primary key (site_id, occurrence_id)
);
create index occurrence_sites_occurrence on occurrence_sites (occurrence_id);

-- The policy for whose sake alone a job is open: it is cancelled with it. Null as soon as anybody else asks for the job.
alter table open_jobs add column policy_id uuid;
create index open_jobs_policy on open_jobs (policy_id) where policy_id is not null;
