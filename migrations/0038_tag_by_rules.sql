-- What devices said of themselves, kept from their backups, also when a later one does not say it again. A table of its own:
-- a row is written when something is new, and not with every backup.
create table device_facts (
  device_id uuid primary key references devices on delete cascade,
  model text,
  serial_number text,
  os_version text
);
insert into device_facts (device_id, model, serial_number, os_version)
  select device_id, facts ->> 'model', facts ->> 'serialNumber', facts ->> 'osVersion'
  from device_status where facts ?| '{model,serialNumber,osVersion}';
create index device_facts_model on device_facts (lower(model) text_pattern_ops, device_id);
create index device_facts_serial on device_facts (lower(serial_number) text_pattern_ops, device_id);
create index device_facts_version on device_facts (lower(os_version) text_pattern_ops, device_id);

-- A pattern in which * stands for any characters and ? for one, as LIKE has it.
create function as_like(pattern text) returns text
language sql immutable parallel safe
return replace(replace(replace(replace(replace(lower(pattern), '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'), '?', '_');

-- Which devices of a tenant get a tag by themselves: those that fit every pattern that is there.
create table tag_rules (
  id uuid primary key,
  tenant_id uuid not null references tenants on delete cascade,
  tag_id uuid not null references tags on delete cascade,
  name text,
  address text,
  platform text,
  model text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (coalesce(name, address, platform, model) is not null)
);
create index tag_rules_tenant on tag_rules (tenant_id, id);
create index tag_rules_tag on tag_rules (tag_id);

update permissions set actions = actions || '{tags:read,tags:write}'
  where id = '00000000-0000-7000-8000-000000000102';
update permissions set actions = actions || '{tags:read}'
  where id in ('00000000-0000-7000-8000-000000000103', '00000000-0000-7000-8000-000000000104');
