-- Names are compared as those of sites are. All four tables are empty: nothing wrote to them before.
alter table roles drop constraint roles_name_key;
create unique index roles_name on roles (lower(name));
alter table permissions drop constraint permissions_name_key;
create unique index permissions_name on permissions (lower(name));

-- Where a permission holds: null for everywhere. Ids of what was deleted stay behind and reach nothing; an empty list
-- never means everywhere.
alter table permissions drop column selector;
alter table permissions add column tenant_ids uuid[], add column site_ids uuid[],
  add check ((tenant_ids is null) = (site_ids is null));

-- What somebody still has cannot be deleted from under them.
alter table role_permissions drop constraint role_permissions_permission_id_fkey,
  add constraint role_permissions_permission_id_fkey foreign key (permission_id) references permissions;
alter table user_roles drop constraint user_roles_role_id_fkey,
  add constraint user_roles_role_id_fkey foreign key (role_id) references roles;
create index role_permissions_permission on role_permissions (permission_id);
create index user_roles_role on user_roles (role_id);

insert into permissions (id, name, description, actions, built_in) values
  ('00000000-0000-7000-8000-000000000101', 'Everything', 'All there is, also what later releases bring',
    '{*}', true),
  ('00000000-0000-7000-8000-000000000102', 'Operate', 'The daily work with devices, jobs, policies and configurations',
    '{agents:read,backups:decide,backups:read,credentials:read,devices:*,hints:write,host_keys:*,jobs:*,policies:*,settings:read,sites:read,tasks:read,tenants:read}',
    true),
  ('00000000-0000-7000-8000-000000000103', 'View', 'Looking at devices, jobs and redacted configurations',
    '{agents:read,backups:read,credentials:read,devices:read,host_keys:read,jobs:read,policies:read,sites:read,tasks:read,tenants:read}',
    true),
  ('00000000-0000-7000-8000-000000000104', 'Audit', 'Who may do what, and who did what; no configurations',
    '{agents:read,audit:read,credentials:read,devices:read,jobs:read,policies:read,roles:read,settings:read,sites:read,tasks:read,tenants:read,users:read}',
    true);

insert into roles (id, name, description, built_in) values
  ('00000000-0000-7000-8000-000000000001', 'Administrator', 'May do everything', true),
  ('00000000-0000-7000-8000-000000000002', 'Operator', 'Works with devices, jobs and policies of all sites', true),
  ('00000000-0000-7000-8000-000000000003', 'Viewer', 'Sees devices, jobs and redacted configurations of all sites', true),
  ('00000000-0000-7000-8000-000000000004', 'Auditor', 'Sees who may do what and who did what', true);

insert into role_permissions (role_id, permission_id) values
  ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000101'),
  ('00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000102'),
  ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000103'),
  ('00000000-0000-7000-8000-000000000004', '00000000-0000-7000-8000-000000000104');

-- Who is an administrator stands in users alone: the last one is counted there.
alter table user_roles add check (role_id <> '00000000-0000-7000-8000-000000000001');
