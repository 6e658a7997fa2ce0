-- Trusted, and part of every PostgreSQL: the owner of a database may create it.
create extension if not exists pg_trgm;

-- By which rules the text was redacted (null: nobody noted it), and whether the index of lines has it.
alter table current_texts add column redacted_by text;
alter table current_texts add column searchable boolean not null default false;
-- Of the few that wait to be indexed, so that it is made quickly and stays small.
create index current_texts_waiting on current_texts (device_id, capture) where not searchable;

-- Every distinct line of all current texts, once: most lines of a fleet are the same on many devices. The digest is the
-- first half of its SHA-256, as a line may be longer than an index takes.
create table search_lines (
  id bigint generated always as identity primary key,
  digest bytea not null unique,
  line text not null
);
create index search_lines_trigrams on search_lines using gin (line gin_trgm_ops);

-- Which lines a current text has, each once; null: so many that the text itself is looked through.
create table search_texts (
  device_id uuid not null,
  capture text not null,
  line_ids bigint[],
  primary key (device_id, capture),
  foreign key (device_id, capture) references current_texts on delete cascade
);
create index search_texts_lines on search_texts using gin (line_ids);
create index search_texts_long on search_texts (device_id, capture) where line_ids is null;
