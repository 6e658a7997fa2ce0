import { type RawBuilder, sql } from "kysely";
import type { CredentialId, DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import { liveLimit } from "../credentials/ramp.ts";
import type { FloorKey } from "./claim_floor.ts";
import { MAX_OFFSET_SECONDS } from "./rank.ts";

/** How many waiting jobs are looked at to find one per free device. */
export const CANDIDATES = 200;

/** A waiting job that its agent can run, with the credential version that its lease would use. */
export interface Candidate {
  readonly jobId: JobId;
  readonly deviceId: DeviceId;
  readonly credentialId: CredentialId | null;
  readonly version: number | null;
  /** How many more leases may use that version, as counted without a lock; null: no limit. */
  readonly room: number | null;
  /** A minute behind the rank and never ahead of now: where a claim floor may stand. */
  readonly floorRank: string;
}

export interface QueueView {
  readonly siteId: SiteId;
  readonly platforms: readonly string[];
  /** The kinds of job that the agent can run. */
  readonly kinds: readonly string[];
  readonly floor?: FloorKey | undefined;
}

/** The head of a site's queue, in the order of its ranks. */
export function headOf(view: QueueView, limit: number): RawBuilder<Candidate> {
  return sql<Candidate>`
    with head as (${selectWaiting(view)} order by r.rank, r.job_id limit ${limit})
    ${withRooms}`;
}

/**
 * The heads of the queue's lanes, one lane for each credential: what has no room is stepped over as a whole, however
 * many jobs wait in it. The lanes are found by a loose scan of the index (one descent for each).
 */
export function lanesOf(view: QueueView): RawBuilder<Candidate> {
  const { siteId } = view;
  const inLane = sql`and r.credential_id = open.credential_id`;
  const laneless = sql`and r.credential_id is null`;
  return sql<Candidate>`
    with recursive lanes as (
      (select credential_id from ready where site_id = ${siteId} and credential_id is not null
        order by credential_id limit 1)
      union all
      select (select r.credential_id from ready r
        where r.site_id = ${siteId} and r.credential_id > l.credential_id
        order by r.credential_id limit 1)
      from lanes l where l.credential_id is not null
    ), open as (
      select l.credential_id, v.version,
        least(${CANDIDATES}::int, ${liveLimit} - (select count(*) from leases b
          where b.credential_id = v.credential_id and b.credential_version = v.version)) as most
      from lanes l join credentials c on c.id = l.credential_id
      join credential_versions v on v.credential_id = c.id and v.version = c.current_version
    ), head as (
      select h.* from (
        select w.* from open cross join lateral (${selectWaiting(view, inLane)}
          order by r.rank, r.job_id limit greatest(open.most, 0)) w
        union all
        select * from (${selectWaiting(view, laneless)}
          order by r.rank, r.job_id limit ${CANDIDATES}) free
      ) h order by h.rank, h.job_id limit ${CANDIDATES}
    )
    ${withRooms}`;
}

/** Jobs that are due, of devices that are free and that the credential is not quarantined for. */
function selectWaiting(view: QueueView, which: RawBuilder<unknown> = sql``): RawBuilder<unknown> {
  const { floor } = view;
  return sql`
    select r.job_id, r.device_id, r.rank, c.id as credential_id, v.version,
      ${liveLimit} as live_limit
    from ready r join devices d on d.id = r.device_id
    left join credentials c on c.id = d.credential_id and r.logs_in
    left join credential_versions v on v.credential_id = c.id and v.version = c.current_version
    where r.site_id = ${view.siteId} ${which} and r.due_at <= now()
      and r.rank <= now() + make_interval(secs => ${MAX_OFFSET_SECONDS})
      ${
    floor ? sql`and (r.rank, r.job_id) > (${floor.rank}::timestamptz, ${floor.jobId}::uuid)` : sql``
  }
      and d.platform = any(${[...view.platforms]}::text[])
      and r.kind = any(${[...view.kinds]}::text[])
      and (r.expires_at is null or r.expires_at > now())
      and (d.windows is null or may_touch(d.windows,
        (select time_zone from sites where id = ${view.siteId}), now()))
      and not exists (
        select 1 from leases l where l.site_id = r.site_id and l.device_id = r.device_id)
      and not exists (
        select 1 from credential_refusals q where q.credential_id = v.credential_id
          and q.version = v.version and q.device_id = d.id and q.quarantined_at is not null)`;
}

/** Counts for each version with a limit once, not for each of its jobs. */
const withRooms = sql`, gates as (
    select h.credential_id, h.version, (min(h.live_limit) - (select count(*) from leases b
      where b.credential_id = h.credential_id and b.credential_version = h.version))::int as room
    from head h where h.live_limit is not null group by h.credential_id, h.version
  )
  select h.job_id, h.device_id, h.credential_id, h.version, g.room,
    (least(h.rank, now()) - interval '1 minute')::text as floor_rank
  from head h left join gates g on g.credential_id = h.credential_id and g.version = h.version
  order by h.rank, h.job_id`;
