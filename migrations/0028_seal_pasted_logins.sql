-- Logins of a list that was pasted, sealed when it was read and under the credential's own name: to apply the import, the
-- envelope moves to credential_versions unopened. They go with the preview when nobody applies it.
create table import_secrets (
  import_id uuid not null references imports on delete cascade,
  credential_id uuid not null,
  name text not null,
  username text not null,
  kek_id text not null,
  wrapped_key bytea not null,
  nonce bytea not null,
  ciphertext bytea not null,
  primary key (import_id, credential_id)
);
create index import_secrets_kek on import_secrets (kek_id);

-- Ids, names and user names of the credentials that the import makes.
alter table imports add column new_credentials jsonb not null default '[]';
