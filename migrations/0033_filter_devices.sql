-- For finding text within text. An extension that the owner of a database may make (PostgreSQL 13 and later).
create extension if not exists pg_trgm;

-- What people know of a device that it does not say itself. Both defaults are constants, so that no row is rewritten.
alter table devices add column notes text not null default '',
  -- Who answers for it: a person, a team.
  add column owner text not null default '';

-- Each ends with the id, in whose order devices are listed: a page is read from where it begins.
create index devices_platform on devices (platform, id);
create index devices_owner on devices (lower(owner), id) where owner <> '';
create index devices_archived on devices (id) where archived_at is not null;

-- What is looked through for a text: lines in small letters. Trigrams are of letters and digits, and addresses are not
-- told apart by those alone: what stands between them becomes letters, for the index only.
create function device_lines(name text, host text, notes text) returns text
language sql immutable parallel safe
return lower(E'\n' || name || E'\n' || host || E'\n' || notes);
create function as_letters(lines text) returns text
language sql immutable parallel safe
return translate(lines, '.:-_/', 'qxzjw');
create index devices_text on devices
  using gin (as_letters(device_lines(name, host, notes)) gin_trgm_ops);

-- Every device has a status from the start, so that "no attempt yet" is found by an index like any other.
insert into device_status (device_id, site_id) select id, site_id from devices on conflict do nothing;
create function begin_device_status() returns trigger language plpgsql as $$
begin
  insert into device_status (device_id, site_id) select id, site_id from made on conflict do nothing;
  return null;
end $$;
create trigger begin_device_status after insert on devices
  referencing new table as made for each statement execute function begin_device_status();

create index device_status_outcome on device_status (last_outcome, device_id);
create index device_status_verified on device_status (last_verified_at, device_id);
create index device_status_unsaved on device_status (unsaved, device_id) where unsaved is not null;
-- Nothing reads by it.
drop index device_status_site;
create index device_status_refused on device_status (site_id)
  where failure_code = 'refused_by_agent_policy';
