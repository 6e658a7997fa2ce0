-- What arrived of an upload that was cut, until the rest comes. Sealed like a blob, and bound to its lease: no other
-- lease can read or continue it. Short-lived: gone when the upload is whole, or after a day.
create table upload_parts (
  lease_id uuid not null,
  sha256 text not null,
  -- Names the body as it travels (its coding decides the bytes): parts of two bodies are never put together.
  upload_id text not null,
  start_at integer not null,
  bytes integer not null,
  kek_id text not null,
  wrapped_key bytea not null,
  nonce bytea not null,
  ciphertext bytea not null,
  received_at timestamptz not null default now(),
  primary key (lease_id, sha256, upload_id, start_at)
);
alter table upload_parts alter column ciphertext set storage external;
create index upload_parts_old on upload_parts (received_at);
create index upload_parts_kek on upload_parts (kek_id);
