-- `key_generation` says which key file the fingerprints are of. `pending_keys` announces the next one before it is
-- written, with what follows from it; whoever holds a file that matches puts it in force.
alter table installation
  add column key_generation integer not null default 1,
  add column pending_keys jsonb;

-- Whether anything is still wrapped by a key-encryption key must be cheap to ask.
create index credential_versions_kek on credential_versions (kek_id);
create index blobs_kek on blobs (kek_id);
