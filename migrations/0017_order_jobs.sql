-- What an order may say beside what and when: until when the job must have begun, and how long its session may take.
alter table jobs
  add column expires_at timestamptz,
  add column total_seconds integer check (total_seconds between 1 and 3600);

alter table ready
  -- Whether the session of the job logs in: one that does not needs no credential and waits for none.
  add column logs_in boolean not null default true,
  add column expires_at timestamptz;
create index ready_expiring on ready (expires_at) where expires_at is not null;

alter table leases
  add column logs_in boolean not null default true,
  add column expires_at timestamptz;

-- The kinds of job that the agent can run, as it says itself; older agents do not say, and back up only.
alter table agents add column kinds text[] not null default '{backup_config}';
