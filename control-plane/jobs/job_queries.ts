import { type Kysely, sql } from "kysely";
import type { JobCause } from "@rookery/shared/api/change_hints.ts";
import type { Hold, JobState, JobUrgency } from "@rookery/shared/api/jobs.ts";
import type { DriverSet } from "@rookery/shared/drivers/driver_set.ts";
import { SHIPPED_DRIVERS } from "@rookery/shared/drivers/mod.ts";
import type { AgentId, DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { liveLimit } from "../credentials/ramp.ts";
import type { Database } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

/** A job with what its place says about it. */
export interface JobRow {
  readonly id: JobId;
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly kind: JobKind;
  readonly payload: unknown;
  readonly state: JobState;
  readonly priority: number;
  readonly urgency: JobUrgency;
  readonly dueAt: Temporal.Instant;
  readonly createdAt: Temporal.Instant;
  readonly endedAt: Temporal.Instant | null;
  readonly attempts: number;
  readonly agentId: AgentId | null;
  readonly cancelRequested: boolean;
  readonly failureCode: FailureCode | null;
  readonly failureDetail: string | null;
  readonly hold: Hold | null;
  readonly cause: JobCause | null;
}

export interface JobSelection {
  readonly scope: Scope;
  readonly limit: number;
  readonly before?: JobId | undefined;
  readonly jobId?: JobId;
  readonly siteId?: SiteId | undefined;
  readonly deviceId?: DeviceId | undefined;
  readonly state?: JobState | undefined;
  /** What agents must have to be granted a job. Default: the drivers that ship. */
  readonly drivers?: DriverSet;
}

/** Jobs, newest first. A job's state is where it is: ready, leases or done. */
export async function selectJobs(
  db: Kysely<Database>,
  selection: JobSelection,
): Promise<JobRow[]> {
  const { before, jobId, siteId, deviceId, state } = selection;
  const hold = holdOf(await (selection.drivers ?? SHIPPED_DRIVERS).digests());
  const { rows } = await sql<JobRow>`
    select j.id, j.site_id, j.device_id, j.kind, j.payload, j.priority, j.urgency, j.created_at,
      j.cause,
      coalesce(r.due_at, j.due_at) as due_at, d.ended_at,
      case when d.job_id is not null then d.outcome when l.job_id is not null then 'leased'
        when r.due_at > now() then 'scheduled' else 'available' end as state,
      coalesce(d.epoch, l.epoch, r.epoch, 0) as attempts,
      coalesce(d.agent_id, l.agent_id) as agent_id,
      coalesce(l.cancel_requested, false) as cancel_requested,
      coalesce(d.failure_code, l.last_failure, r.last_failure) as failure_code,
      d.failure_detail,
      case when r.due_at <= now() then ${hold} when r.due_at > now() then ${windowHold} end as hold
    from jobs j ${placesOf(state)}
    where ${isVisible("j.site_id", selection.scope)}
      ${jobId === undefined ? sql`` : sql`and j.id = ${jobId}`}
      ${before === undefined ? sql`` : sql`and j.id < ${before}`}
      ${siteId === undefined ? sql`` : sql`and j.site_id = ${siteId}`}
      ${deviceId === undefined ? sql`` : sql`and j.device_id = ${deviceId}`}
    order by j.id desc limit ${selection.limit}`.execute(db);
  return rows;
}

/** The places of jobs; where a state is asked for, the query starts from its place and never reads all of history. */
function placesOf(state: JobState | undefined) {
  const isWaiting = state === "available" || state === "scheduled";
  const isEnded = state !== undefined && !isWaiting && state !== "leased";
  const due = sql.raw(state === "available" ? "<=" : ">");
  return sql`
    ${isWaiting ? sql`join` : sql`left join`} ready r on r.site_id = j.site_id and r.job_id = j.id
      ${isWaiting ? sql`and r.due_at ${due} now()` : sql``}
    ${state === "leased" ? sql`join` : sql`left join`} leases l
      on l.site_id = j.site_id and l.job_id = j.id
    ${isEnded ? sql`join` : sql`left join`} done d on d.site_id = j.site_id and d.job_id = j.id
      ${isEnded ? sql`and d.outcome = ${state}` : sql``}`;
}

/** What keeps a due job waiting, the strongest reason first; null when it is merely not its turn yet. */
function holdOf(digests: Readonly<Record<string, string>>) {
  const ours = sql`${JSON.stringify(digests)}::text::jsonb`;
  return sql`(select case
    when (select maintenance from installation) then 'maintenance'
    when s.paused then 'site_paused'
    when not (select may_touch(w.windows, s.time_zone, now()) from devices w where w.id = j.device_id)
      then 'device_window'
    when exists (select 1 from leases b where b.site_id = j.site_id and b.device_id = j.device_id)
      then 'device_busy'
    when ${credentialHold} is not null then ${credentialHold}
    when (select count(*) from leases b where b.site_id = j.site_id) >= s.max_live then 'site_limit'
    when (select count(*) from leases b where b.site_id = j.site_id) >= s.live_limit then 'site_slowed'
    when s.starts_per_minute is not null and s.starts_left + s.starts_per_minute / 60.0
      * extract(epoch from clock_timestamp() - s.starts_at) < 1 then 'start_rate'
    when not exists (select 1 from agent_sites x join agent_sessions e on e.agent_id = x.agent_id
      where x.site_id = j.site_id and e.expires_at > now())
      then case when exists (select 1 from agent_sites x join agents a on a.id = x.agent_id
        where x.site_id = j.site_id and a.status = 'active' and a.too_old_since is not null)
        then 'agent_too_old' else 'no_agent' end
    when not exists (select 1 from agent_sites x join agents a on a.id = x.agent_id
      join agent_sessions e on e.agent_id = a.id
      join devices v on v.id = j.device_id
      where x.site_id = j.site_id and e.expires_at > now()
        and a.drivers ->> v.platform = ${ours} ->> v.platform)
      then 'driver_missing'
    when not exists (select 1 from agent_sites x join agents a on a.id = x.agent_id
      join agent_sessions e on e.agent_id = a.id
      where x.site_id = j.site_id and e.expires_at > now() and j.kind = any(a.kinds))
      then 'kind_unsupported'
    when not exists (select 1 from agent_sites x join agent_sessions e on e.agent_id = x.agent_id
      where x.site_id = j.site_id and e.expires_at > now() and e.capacity >
        (select count(*) from leases b where b.agent_id = e.agent_id)) then 'agent_capacity'
    end from sites s where s.id = j.site_id)`;
}

/** A job that is due later, since its device may not be touched before. */
const windowHold = sql`(select 'device_window' from devices w join sites s on s.id = w.site_id
  where w.id = j.device_id and j.due_at <= now() and w.windows is not null
    and not may_touch(w.windows, s.time_zone, now()))`;

/** Whether the credential of the device of job `j` keeps it waiting, and why. */
const credentialHold = sql`(select case
    when v.state = 'quarantined' or exists (select 1 from credential_refusals q
      where q.credential_id = v.credential_id and q.version = v.version
        and q.device_id = j.device_id and q.quarantined_at is not null)
      then 'credential_quarantined'
    when ${liveLimit} <= (select count(*) from leases b
      where b.credential_id = v.credential_id and b.credential_version = v.version)
      then case when v.state = 'suspect' then 'credential_suspect' else 'credential_ramp' end
    end from devices w join credentials c on c.id = w.credential_id
    join credential_versions v on v.credential_id = c.id and v.version = c.current_version
    where w.id = j.device_id)`;

/** The attempts of a job, oldest first. */
export async function selectAttempts(
  db: Kysely<Database>,
  job: { siteId: SiteId; jobId: JobId },
) {
  return await db.selectFrom("attempts")
    .select(["leaseId", "epoch", "agentId", "outcome", "failureCode", "failureDetail"])
    .select(["durationMs", "grantedAt", "endedAt"])
    .where("siteId", "=", job.siteId).where("jobId", "=", job.jobId)
    .orderBy("epoch").orderBy("endedAt").limit(500).execute();
}

/** Which of the devices exist and may be seen, or all of a site; archived ones are not backed up. */
export async function selectTargets(
  db: Kysely<Database>,
  selection: { scope: Scope; deviceIds?: readonly DeviceId[]; siteId?: SiteId },
): Promise<{ deviceId: DeviceId; siteId: SiteId; platform: string }[]> {
  const { rows } = await sql<{ deviceId: DeviceId; siteId: SiteId; platform: string }>`
    select id as device_id, site_id, platform from devices
    where archived_at is null and ${isVisible("devices.site_id", selection.scope)}
      ${selection.deviceIds ? sql`and id = any(${[...selection.deviceIds]}::uuid[])` : sql``}
      ${selection.siteId ? sql`and site_id = ${selection.siteId}` : sql``}
    order by site_id, id`.execute(db);
  return rows;
}

/** Whether a site exists for this caller. */
export async function isSiteVisible(
  db: Kysely<Database>,
  site: { scope: Scope; siteId: SiteId },
): Promise<boolean> {
  const { rows } = await sql`
    select 1 from sites where id = ${site.siteId} and ${isVisible("sites.id", site.scope)}`
    .execute(db);
  return rows.length > 0;
}
