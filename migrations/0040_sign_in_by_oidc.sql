-- Who a person is at an OpenID provider. The subject is the only name of theirs that a provider never gives to another.
create table oidc_identities (
  issuer text not null,
  subject text not null,
  user_id uuid not null references users on delete cascade,
  created_at timestamptz not null default now(),
  primary key (issuer, subject)
);
create index oidc_identities_user on oidc_identities (user_id);

-- The secret of our client there, sealed. It belongs to one issuer: whoever names another one does not get it sent there.
create table oidc_clients (
  issuer text not null,
  client_id text not null,
  kek_id text not null,
  wrapped_key bytea not null,
  nonce bytea not null,
  ciphertext bytea not null,
  primary key (issuer, client_id)
);
create index oidc_clients_kek on oidc_clients (kek_id);
