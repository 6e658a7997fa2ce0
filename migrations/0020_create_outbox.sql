-- What changed, for readers that follow along (DESIGN, section 4): written by the statement that changes it. Read in the
-- order of (xid, id), and only below the oldest transaction that is still open. One row for all jobs of a site to which the
-- same happened in one statement. Not partitioned, unlike what is kept for weeks: rows live for a day, and a partition
-- cannot be dropped without stopping all who write.
create table outbox (
  xid xid8 not null default pg_current_xact_id(),
  id bigint generated always as identity,
  at timestamptz not null default clock_timestamp(),
  noun text not null check (noun in ('job', 'task')),
  change text not null,
  site_id uuid,
  ids uuid[] not null,
  -- Of jobs: their devices, in the same order.
  device_ids uuid[],
  -- What is said of all of them.
  detail jsonb,
  primary key (xid, id)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);

-- The newest transaction of which a row was deleted: who stands at it or before it has missed something.
create table outbox_floor (
  singleton boolean primary key default true check (singleton),
  xid xid8 not null default '0'
);
insert into outbox_floor default values;

-- What people read about a task beside its row: append only, and gone with the task.
create table task_log (
  id uuid primary key default gen_random_uuid(),
  task_id uuid not null references tasks on delete cascade,
  at timestamptz not null default clock_timestamp(),
  event text not null,
  detail text
);
create index task_log_task on task_log (task_id, at, id);
create index tasks_newest on tasks (state, id desc);

-- Names of tags are looked up for all tenants at once.
create index tags_by_name on tags (lower(name));

-- When the session of an attempt began: with the first heartbeat that names its lease.
alter table leases add column started_at timestamptz;
alter table attempts add column started_at timestamptz;
alter table done add column started_at timestamptz;

-- What no other table tells of a job: that it was asked for again, that its end was asked for, and how far its agent says it
-- is. When it was enqueued, granted, begun and ended stands in jobs, grants, attempts and done, and is read there. Append only.
create table job_log (
  id uuid not null default gen_random_uuid(),
  site_id uuid not null,
  job_id uuid not null,
  at timestamptz not null default clock_timestamp(),
  event text not null check (event in ('raised', 'cancel_requested', 'progress')),
  epoch integer not null,
  -- Of progress: what the agent does, of its own words.
  step text,
  percent smallint check (percent between 0 and 100),
  bytes bigint,
  primary key (id, at)
) partition by range (at);
create table job_log_default partition of job_log default;
create index job_log_job on job_log (site_id, job_id, at);
select ensure_weekly_partitions('job_log', 4);
