-- The secret of a person's authenticator (RFC 6238), sealed. Unconfirmed: it was shown, and no login asks for it yet.
create table totp_factors (
  user_id uuid primary key references users on delete cascade,
  confirmed_at timestamptz,
  -- The step of time of the newest code that was used: neither it nor an older one works again.
  last_step bigint not null default 0,
  created_at timestamptz not null default now(),
  kek_id text not null,
  wrapped_key bytea not null,
  nonce bytea not null,
  ciphertext bytea not null
);
create index totp_factors_kek on totp_factors (kek_id);

-- For whoever has lost their authenticator; one that was used is gone.
create table recovery_codes (
  user_id uuid not null references users on delete cascade,
  code_sha256 text not null,
  primary key (user_id, code_sha256)
);

-- The password was right, the code is still to come: such a session opens nothing else.
alter table sessions add column awaits_code boolean not null default false;
