-- Failed logins in a row: `account <digest of the name>` or `browser <digest of its secret>`. A name that nobody has counts
-- like any other, and is kept as a digest only, because people type passwords where the name belongs.
create table login_failures (
  counter text primary key,
  failures integer not null,
  last_failed_at timestamptz not null default now()
);
create index login_failures_at on login_failures (last_failed_at);

-- Browsers in which a person has logged in: they have a counter of their own, so that whoever guesses elsewhere cannot lock
-- the person out of them.
create table known_browsers (
  secret_sha256 text primary key,
  user_id uuid not null references users on delete cascade,
  created_at timestamptz not null default now(),
  last_used_at timestamptz not null default now()
);
create index known_browsers_user on known_browsers (user_id, last_used_at);
