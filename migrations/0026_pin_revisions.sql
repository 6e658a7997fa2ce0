-- Pinned: retention never takes it. Both defaults are constants, so that no row is rewritten.
alter table revisions add column pinned boolean not null default false,
  add column comment text not null default '';

update permissions set actions = actions || '{backups:write}'
where id = '00000000-0000-7000-8000-000000000102';
