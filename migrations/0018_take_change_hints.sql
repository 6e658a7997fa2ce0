-- What a token may do where that is less than its person may; null: all of it, everywhere.
alter table api_tokens
  add column permissions text[],
  add column site_ids uuid[],
  -- A token for single sites names what it may do there, or it could do what belongs to no site.
  add constraint api_tokens_site_ids_check check (site_ids is null or permissions is not null);

-- Devices that were said to have changed and are left alone until it is quiet: then a backup is ordered and the row goes.
-- `reports` are the newest of each user: [{at, user, text, via, reporter}], oldest first; hostile text, never interpreted.
create table change_hints (
  site_id uuid not null,
  device_id uuid not null references devices on delete cascade,
  first_at timestamptz not null,
  last_at timestamptz not null,
  due_at timestamptz not null,
  hints integer not null,
  reports jsonb not null,
  primary key (site_id, device_id)
);
create index change_hints_due on change_hints (due_at);

-- Why a job was ordered, where somebody said so: {firstAt, lastAt, hints, reports} of the hints.
alter table jobs add column cause jsonb;
