-- Somebody else knows the password: nothing is done with it but to change it.
alter table users add column must_change_password boolean not null default false;

-- Addresses are ASCII, as user names are.
alter table users add column email text;
create unique index users_email on users (lower(email collate "C"));
