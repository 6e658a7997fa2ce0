-- One row: which installation this is. `incarnation` rises when Rookery itself is restored from a backup, so
-- that fencing never runs backwards. The fingerprints let a replica that holds other keys refuse to start.
create table installation (
  id uuid primary key,
  singleton boolean not null default true unique check (singleton),
  incarnation integer not null default 1 check (incarnation >= 1),
  key_fingerprints jsonb,
  created_at timestamptz not null default now()
);

insert into installation (id) values (gen_random_uuid());

create table settings (
  name text primary key,
  value jsonb not null,
  updated_at timestamptz not null default now()
);

-- Leaderless maintenance: whoever moves `last_at` forward runs the tick; doing it twice changes nothing.
create table ticks (
  name text primary key,
  last_at timestamptz not null default '2000-01-01T00:00:00Z'
);

-- Makes the weekly partitions of `parent` that cover now and the coming weeks. Idempotent. Each week for itself: one whose
-- rows lie in the default partition already stays there (check_violation) and must not keep the others from being made;
-- and another replica may be faster (duplicate_table, or unique_violation in the catalogue).
create function ensure_weekly_partitions(parent text, weeks integer) returns void
language plpgsql as $$
declare
  week timestamptz;
  name text;
begin
  for i in 0..weeks loop
    week := date_trunc('week', now() at time zone 'UTC') at time zone 'UTC' + make_interval(weeks => i);
    name := parent || '_' || to_char(week at time zone 'UTC', 'YYYYMMDD');
    if to_regclass(name) is null then
      begin
        execute format('create table %I partition of %I for values from (%L) to (%L)',
          name, parent, week, week + interval '7 days');
      exception when check_violation or duplicate_table or unique_violation then
        raise warning 'partition % was not made: %', name, sqlerrm;
      end;
    end if;
  end loop;
end $$;
