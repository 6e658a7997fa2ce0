-- Which boots of an agent were heard, so that a copy of its state folder shows: a boot that another one replaced and that
-- opens a session again is alive beside it. Bounded: the newest few of each agent are kept.
create table agent_boots (
  agent_id uuid not null references agents on delete cascade,
  boot_id uuid not null,
  sequence integer not null,
  -- The key that the boot proved when it was last heard.
  thumbprint text not null,
  address text not null default '',
  first_at timestamptz not null default clock_timestamp(),
  last_at timestamptz not null default clock_timestamp(),
  -- When another boot took its place.
  replaced_at timestamptz,
  -- It opened a session; one that was only ever refused is listed for the person who decides.
  admitted boolean not null default false,
  -- A person trusted another one: it is refused for good.
  refused_at timestamptz,
  primary key (agent_id, boot_id)
);

-- Sessions that live now go on without a word.
insert into agent_boots (agent_id, boot_id, sequence, thumbprint, first_at, last_at, admitted)
select s.agent_id, s.boot_id, a.session_sequence, a.thumbprint, s.opened_at, s.seen_at, true
from agent_sessions s join agents a on a.id = s.agent_id where a.session_sequence > 0;

-- Every signing key that an agent ever had. `next`: agreed by a rotation and not used yet; `current`: the one in `agents`;
-- `retired`: replaced by a rotation, so whoever shows it runs on an old copy; `dead`: replaced by a person, proves nothing.
create table agent_keys (
  thumbprint text primary key,
  agent_id uuid not null references agents on delete cascade,
  sign_jwk jsonb not null,
  seal_jwk jsonb not null,
  state text not null check (state in ('next', 'current', 'retired', 'dead')),
  added_at timestamptz not null default clock_timestamp(),
  retired_at timestamptz
);
create index agent_keys_agent on agent_keys (agent_id, added_at desc);
create unique index agent_keys_one_of_a_kind on agent_keys (agent_id, state) where state in ('next', 'current');

insert into agent_keys (thumbprint, agent_id, sign_jwk, seal_jwk, state, added_at)
select thumbprint, id, sign_jwk, seal_jwk, 'current', enrolled_at from agents;

alter table agents
  -- After a fork: the only boot that may open a session, until it has new keys.
  add column trusted_boot_id uuid,
  add column rotation_requested_at timestamptz;

alter table join_tokens
  -- The agent waits until a person has approved its fingerprint.
  add column require_approval boolean not null default false,
  -- The agent whose key the new one replaces.
  add column replaces_agent_id uuid references agents;

-- Proofs that opened a session: each counts once in the whole installation.
create table used_proofs (
  thumbprint text not null,
  jti text not null,
  used_at timestamptz not null default clock_timestamp(),
  primary key (thumbprint, jti)
);
