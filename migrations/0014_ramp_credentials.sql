-- A refused credential must never lock a fleet out. `ramp` is how many leases may use a version at the same time, in the
-- whole system; null: no limit. `refusing` are the devices that refused it since the last success.
alter table credential_versions drop constraint credential_versions_state_check;
update credential_versions
  set state = case state when 'fresh' then 'new' when 'proven' then 'trusted' else state end;
alter table credential_versions
  alter column state set default 'new',
  add constraint credential_versions_state_check
    check (state in ('new', 'trusted', 'suspect', 'quarantined')),
  add column state_since timestamptz not null default now(),
  add column ramp integer default 1 check (ramp >= 1),
  add column last_success_at timestamptz,
  add column last_refused_at timestamptz,
  add column refusing uuid[] not null default '{}';
create index credential_versions_quarantined on credential_versions (credential_id)
  where state = 'quarantined';

-- `agent_local`: the agents hold the secret, in their own file under `local_name`; what is sealed here is empty.
alter table credentials
  add column kind text not null default 'stored' check (kind in ('stored', 'agent_local')),
  add column local_name text,
  add constraint credentials_local_name_check check ((kind = 'agent_local') = (local_name is not null));

-- Refusals of a device since its own last success; with `quarantined_at` the version is not tried on it any more.
create table credential_refusals (
  credential_id uuid not null references credentials on delete cascade,
  version integer not null,
  device_id uuid not null references devices on delete cascade,
  refusals integer not null,
  failure_code text not null,
  first_refused_at timestamptz not null,
  last_refused_at timestamptz not null,
  quarantined_at timestamptz,
  primary key (credential_id, version, device_id)
);
create index credential_refusals_device on credential_refusals (device_id);
create index credential_refusals_quarantined on credential_refusals (credential_id, version)
  where quarantined_at is not null;

-- The lane of a waiting job: its device's credential. Claims step over lanes that have no room instead of over each job.
alter table ready add column credential_id uuid;
update ready r set credential_id = d.credential_id from devices d where d.id = r.device_id;
create index ready_lane on ready (site_id, credential_id, rank, job_id);

-- Which version a lease uses, from its grant on: counted while it lives, and blamed or cleared by its result.
alter table leases add column credential_id uuid, add column credential_version integer;
update leases l set credential_id = c.id, credential_version = c.current_version
  from devices d join credentials c on c.id = d.credential_id where d.id = l.device_id;
create index leases_credential on leases (credential_id, credential_version);
alter table grants add column credential_id uuid, add column credential_version integer;
update grants g set credential_id = l.credential_id, credential_version = l.credential_version
  from leases l where l.id = g.lease_id;
