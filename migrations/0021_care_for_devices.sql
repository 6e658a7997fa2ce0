-- No new lease is granted while it is on; what runs goes on to its end.
alter table installation
  add column maintenance boolean not null default false,
  -- Open jobs of all sites together, beside the limit of each site.
  add column max_queued integer not null default 1000000 check (max_queued between 1 and 100000000);

alter table sites
  -- The limit in force while it is lower than `max_live`: halved when devices time out, raised by one a quiet minute.
  add column live_limit integer check (live_limit >= 1),
  add column live_limit_at timestamptz,
  -- How many sessions may start in a minute, for the sake of the servers that check logins; null: any number.
  add column starts_per_minute integer check (starts_per_minute between 1 and 10000),
  -- Starts that are saved up, as of `starts_at`: at most those of ten seconds, at least one.
  add column starts_left double precision not null default 1,
  add column starts_at timestamptz not null default now();
create index sites_limited on sites (live_limit_at) where live_limit is not null;

-- When the device may be touched, [{weekdays?, from, to}] by the clock of its site; null: always.
alter table devices add column windows jsonb;
create index devices_windows on devices (site_id) where windows is not null;

-- The last time that a device did not answer at all. Rows go after an hour.
create table connect_timeouts (
  site_id uuid not null,
  device_id uuid not null,
  at timestamptz not null,
  primary key (site_id, device_id)
);

-- A window that ends at or before its beginning ends on the next day; `weekdays` are those on which it begins.
create function may_touch(windows jsonb, site_zone text, moment timestamptz) returns boolean
language sql stable parallel safe as $$
  select windows is null or exists (
    select from jsonb_to_recordset(windows) as w(weekdays text[], "from" text, "to" text),
      lateral (select moment at time zone site_zone as wall) l,
      lateral (select to_char(l.wall, 'HH24:MI') as time,
        w.weekdays is null or to_char(l.wall, 'FMday') = any(w.weekdays) as today,
        w.weekdays is null or to_char(l.wall - interval '1 day', 'FMday') = any(w.weekdays) as yesterday) t
    where case when w."from" < w."to" then t.today and w."from" <= t.time and t.time < w."to"
      else t.today and w."from" <= t.time or t.yesterday and t.time < w."to" end)
$$;

-- When the device may be touched next, after an instant at which it may not.
create function next_touch(windows jsonb, site_zone text, moment timestamptz) returns timestamptz
language sql stable parallel safe as $$
  select min(o.opens) from jsonb_to_recordset(windows) as w(weekdays text[], "from" text),
    generate_series(0, 8) as n(days),
    lateral (select (moment at time zone site_zone)::date + n.days as day) d,
    lateral (select (d.day + w."from"::time) at time zone site_zone as opens) o
  where o.opens > moment and (w.weekdays is null or to_char(d.day, 'FMday') = any(w.weekdays))
$$;
