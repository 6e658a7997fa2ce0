-- A list of Oxidized may have enable passwords beside the logins.
alter table import_secrets add column has_enable_secret boolean not null default false;
