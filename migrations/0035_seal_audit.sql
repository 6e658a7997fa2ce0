-- A restored database counts its transactions anew: rows are in the order of (incarnation, xid, id).
create function current_incarnation() returns integer language sql stable
  return (select incarnation from installation);
alter table audit_rows add column incarnation integer not null default 1;
alter table audit_rows alter column incarnation set default current_incarnation();

drop index audit_rows_order;
create index audit_rows_order on audit_rows (incarnation, xid, id);
-- One for each thing that people look for, in the order in which they are shown.
create index audit_rows_actor on audit_rows (actor_id, at desc, id desc);
create index audit_rows_actor_name on audit_rows (lower(actor_name), at desc, id desc);
create index audit_rows_action on audit_rows (action, at desc, id desc);
create index audit_rows_target_kind on audit_rows (target_kind, at desc, id desc);
create index audit_rows_target on audit_rows (target_id, at desc, id desc);
create index audit_rows_site on audit_rows (site_id, at desc, id desc);
create index audit_rows_address on audit_rows (address, at desc, id desc);
create index audit_rows_request on audit_rows (request_id, at desc, id desc);
create index audit_rows_text on audit_rows using gin
  ((actor_name || ' ' || action || ' ' || target_id || ' ' || address || ' ' || detail::text) gin_trgm_ops);

-- Nothing wrote to it before. What is signed stands in `signature`, a JWS by a key outside of the database; the columns
-- before it repeat what statements look for.
drop table audit_segments;
create table audit_segments (
  number bigint primary key check (number > 0),
  row_count integer not null check (row_count > 0),
  last_incarnation integer not null,
  last_xid xid8 not null,
  last_id uuid not null,
  newest_at timestamptz not null,
  sealed_at timestamptz not null default now(),
  signature text not null,
  -- Of each row, in their order: the 16 bytes of its id and the 32 of its SHA-256.
  row_digests bytea not null
);

-- What retention dropped, as a JWS: everything up to a segment, and what that one was.
create table audit_floor (
  singleton boolean primary key default true check (singleton),
  signature text not null
);
