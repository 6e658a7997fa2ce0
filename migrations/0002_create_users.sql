create table users (
  id uuid primary key,
  username text not null,
  display_name text not null default '',
  password_hash text,
  administrator boolean not null default false,
  disabled_at timestamptz,
  password_changed_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
-- Names are ASCII; "C" lower-cases them alike in every database, also in a Turkish one.
create unique index users_username on users (lower(username collate "C"));

-- Browser sessions: the cookie's value is never stored, only its digest.
create table sessions (
  id uuid primary key,
  user_id uuid not null references users on delete cascade,
  secret_sha256 text not null unique,
  user_agent text not null default '',
  address text not null default '',
  created_at timestamptz not null default now(),
  last_used_at timestamptz not null default now(),
  expires_at timestamptz not null
);
create index sessions_user on sessions (user_id, created_at);

create table api_tokens (
  id uuid primary key,
  user_id uuid not null references users on delete cascade,
  name text not null,
  secret_sha256 text not null unique,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz
);
create index api_tokens_user on api_tokens (user_id, id);

-- One-time links: `setup` makes the first administrator, `recovery` sets a new password for one.
create table setup_links (
  id uuid primary key,
  purpose text not null check (purpose in ('setup', 'recovery')),
  user_id uuid references users on delete cascade,
  secret_sha256 text not null unique,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  used_at timestamptz,
  check ((purpose = 'recovery') = (user_id is not null))
);

-- Who may do what; filled and enforced by selector later, the built-in roles come with their feature.
create table roles (
  id uuid primary key,
  name text not null unique,
  description text not null default '',
  built_in boolean not null default false,
  created_at timestamptz not null default now()
);
create table permissions (
  id uuid primary key,
  name text not null unique,
  description text not null default '',
  actions text[] not null,
  selector jsonb,
  built_in boolean not null default false,
  created_at timestamptz not null default now()
);
create table role_permissions (
  role_id uuid not null references roles on delete cascade,
  permission_id uuid not null references permissions on delete cascade,
  primary key (role_id, permission_id)
);
create table user_roles (
  user_id uuid not null references users on delete cascade,
  role_id uuid not null references roles on delete cascade,
  primary key (user_id, role_id)
);
