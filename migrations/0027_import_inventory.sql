-- What a file would change, kept between the look at it and the word to do it, and after that for the way back.
create table imports (
  id uuid primary key,
  tenant_id uuid not null references tenants on delete cascade,
  format text not null,
  -- Of all its rows: who does not see each of them does not see the import.
  site_ids uuid[] not null,
  ignored_columns text[] not null default '{}',
  created_by uuid not null,
  created_at timestamptz not null default now(),
  apply_task_id uuid,
  undo_task_id uuid
);
create index imports_of_tenant on imports (tenant_id, id);
create index imports_created on imports (created_at);

create table import_rows (
  import_id uuid not null references imports on delete cascade,
  -- The line in the file, or the place in the list, from 1.
  number integer not null,
  site_id uuid,
  -- Of a device that is yet to be made: the id that it will have.
  device_id uuid,
  name text,
  host text,
  action text not null check (action in ('create', 'change', 'unchanged', 'refused')),
  -- Fields of devices: those that change, and all of a new one.
  before jsonb not null default '{}',
  after jsonb not null default '{}',
  errors jsonb not null default '[]',
  outcome text check (outcome in ('applied', 'left', 'undone', 'kept')),
  outcome_detail text,
  primary key (import_id, number)
);
