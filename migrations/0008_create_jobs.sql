-- What is asked for. A job is in exactly one of ready, leases and done; its state is where it is.
create table jobs (
  site_id uuid not null,
  id uuid not null,
  device_id uuid not null,
  kind text not null,
  payload jsonb not null,
  -- Empty for backup_config, else the digest of the payload: what counts as "the same job".
  payload_key text not null default '',
  priority smallint not null default 0 check (priority between -100 and 100),
  urgency text not null default 'normal' check (urgency in ('interactive', 'normal', 'bulk')),
  policy_id uuid,
  occurrence_at timestamptz,
  parent_id uuid,
  requested_by uuid,
  due_at timestamptz not null,
  created_at timestamptz not null default now(),
  primary key (site_id, id),
  unique (site_id, device_id, kind, policy_id, occurrence_at)
);
create unique index jobs_id on jobs (id);
create index jobs_device on jobs (site_id, device_id, id desc);
create index jobs_newest on jobs (id desc);

-- From here on no foreign keys: a key-share lock on a parent row would make every claim a multixact.
-- Lock order everywhere: agent_sessions, sites, leases, ready, open_jobs, done.

-- From enqueue to the end: at most one open job per device, kind and payload, so the queue is bounded.
create table open_jobs (
  site_id uuid not null,
  device_id uuid not null,
  kind text not null,
  payload_key text not null,
  job_id uuid not null,
  primary key (site_id, device_id, kind, payload_key)
);
create unique index open_jobs_job on open_jobs (site_id, job_id);

create table ready (
  site_id uuid not null,
  rank timestamptz not null,
  job_id uuid not null,
  device_id uuid not null,
  kind text not null,
  due_at timestamptz not null,
  -- Seconds that rank differs from due_at once the job is due; negative ones wait for that (see promote).
  offset_seconds integer not null,
  epoch integer not null default 0,
  fails smallint not null default 0,
  session_losses smallint not null default 0,
  last_failure text,
  -- Who held `epoch` when the lease was lost without a report: only then may its result still come.
  late_agent_id uuid,
  -- The failures that the job had before that loss: a late result is judged as if it had come in time.
  late_fails smallint,
  primary key (site_id, rank, job_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
create unique index ready_job on ready (site_id, job_id);
create index ready_promotable on ready (due_at) where offset_seconds < 0 and rank = due_at;

create table leases (
  site_id uuid not null,
  device_id uuid not null,
  job_id uuid not null,
  id uuid not null,
  kind text not null,
  epoch integer not null,
  agent_id uuid not null,
  boot_id uuid not null,
  claim_id uuid not null,
  running boolean not null default false,
  cancel_requested boolean not null default false,
  granted_at timestamptz not null default clock_timestamp(),
  offer_until timestamptz not null,
  deadline_at timestamptz not null,
  rank timestamptz not null,
  due_at timestamptz not null,
  offset_seconds integer not null,
  fails smallint not null,
  session_losses smallint not null,
  last_failure text,
  primary key (site_id, device_id)
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
create unique index leases_job on leases (site_id, job_id);
create index leases_agent on leases (agent_id, claim_id);

-- Append only: every lease ever granted. The holder, also the last one, may upload and report under it.
create table grants (
  lease_id uuid primary key,
  site_id uuid not null,
  job_id uuid not null,
  device_id uuid not null,
  agent_id uuid not null,
  boot_id uuid not null,
  epoch integer not null,
  granted_at timestamptz not null default clock_timestamp(),
  unique (site_id, job_id, epoch)
);

create table done (
  site_id uuid not null,
  job_id uuid not null,
  device_id uuid not null,
  kind text not null,
  epoch integer not null,
  agent_id uuid,
  outcome text not null check (outcome in ('completed', 'failed', 'cancelled', 'dead')),
  failure_code text,
  failure_detail text,
  report jsonb,
  late boolean not null default false,
  ended_at timestamptz not null default clock_timestamp(),
  -- When a dead job was made good by a later success of the same device and kind.
  closed_at timestamptz,
  primary key (site_id, job_id)
);
create index done_outcome on done (outcome, job_id desc);
create index done_dead on done (site_id, device_id, kind) where outcome = 'dead' and closed_at is null;

-- Append only: every attempt that ended, however it ended, and the answer its envelope was given.
create table attempts (
  id uuid not null,
  site_id uuid not null,
  job_id uuid not null,
  device_id uuid not null,
  lease_id uuid not null,
  epoch integer not null,
  agent_id uuid not null,
  outcome text not null check (outcome in ('completed', 'failed', 'cancelled', 'released', 'expired', 'lost', 'superseded')),
  failure_code text,
  failure_detail text,
  answer text check (answer in ('accepted', 'accepted_late', 'superseded')),
  envelope_sha256 text,
  duration_ms integer,
  granted_at timestamptz not null,
  ended_at timestamptz not null default clock_timestamp(),
  primary key (id, ended_at)
) partition by range (ended_at);
create table attempts_default partition of attempts default;
create index attempts_job on attempts (site_id, job_id, epoch);
select ensure_weekly_partitions('attempts', 4);

-- A device's concern with a site's queue is counted, never scanned: jobs not yet ended, by site.
create index open_jobs_site on open_jobs (site_id);
