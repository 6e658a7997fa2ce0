import { type Kysely, sql } from "kysely";
import type { JobCause } from "@rookery/shared/api/change_hints.ts";
import type { Hold, JobState, JobUrgency } from "@rookery/shared/api/jobs.ts";
import type { DriverSet } from "@rookery/shared/drivers/driver_set.ts";
import { SHIPPED_DRIVERS } from "@rookery/shared/drivers/mod.ts";
import type { AgentId, DeviceId, JobId, PolicyId, SiteId, UserId } from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { liveLimit } from "../credentials/ramp.ts";
import type { Database } from "../database/schema.ts";
import { hasTags } from "../devices/tag_filter.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";
import { fulfils, isOneOf, type JobFilter } from "./job_filter.ts";
import { savedStarts } from "./site_limits.ts";

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
  readonly expiresAt: Temporal.Instant | null;
  readonly timeoutSeconds: number | null;
  readonly createdAt: Temporal.Instant;
  readonly requestedBy: UserId | null;
  readonly policyId: PolicyId | null;
  readonly parentId: JobId | null;
  readonly startedAt: Temporal.Instant | null;
  /** `bigint`: comes as text. */
  readonly durationMs: string | null;
  readonly progress:
    | { step: string; percent: number | null; bytes: number | null; at: string }
    | null;
  readonly endedAt: Temporal.Instant | null;
  readonly attempts: number;
  readonly agentId: AgentId | null;
  readonly cancelRequested: boolean;
  readonly failureCode: FailureCode | null;
  readonly failureDetail: string | null;
  readonly hold: Hold | null;
  readonly cause: JobCause | null;
}

export interface JobSelection extends JobFilter {
  readonly scope: Scope;
  readonly limit: number;
  readonly before?: JobId | undefined;
  readonly jobId?: JobId;
  readonly state?: readonly JobState[] | undefined;
  readonly failureCode?: readonly FailureCode[] | undefined;
  /** What agents must have to be granted a job. Default: the drivers that ship. */
  readonly drivers?: DriverSet;
}

/**
 * Jobs, newest first. A job's state is where it is: ready, leases or done. What is asked for of several places is looked for
 * in each of them, in the direction in which jobs move: one statement over all would read all of history for what is rare.
 */
export async function selectJobs(
  db: Kysely<Database>,
  selection: JobSelection,
): Promise<JobRow[]> {
  const { failureCode, state = failureCode ? JOB_STATES : [], limit } = selection;
  const places = [...Map.groupBy(state, (name) => PLACES[name])];
  if (places.length < 2) return await selectAtPlace(db, selection);
  const found = new Map<JobId, JobRow>();
  for (const [, names] of places) {
    for (const row of await selectAtPlace(db, { ...selection, state: names })) {
      found.set(row.id, row);
    }
  }
  return [...found.values()].sort((one, other) => one.id < other.id ? 1 : -1).slice(0, limit);
}

async function selectAtPlace(
  db: Kysely<Database>,
  selection: JobSelection,
): Promise<JobRow[]> {
  const { before, jobId, state, failureCode } = selection;
  const reason = sql`coalesce(d.failure_code, l.last_failure, r.last_failure)`;
  const hold = holdOf(await (selection.drivers ?? SHIPPED_DRIVERS).digests());
  const { rows } = await sql<JobRow>`
    select j.id, j.site_id, j.device_id, j.kind, j.payload, j.priority, j.urgency, j.created_at,
      j.requested_by, j.policy_id, j.parent_id, 
      case when r.job_id is not null then r.expires_at when l.job_id is not null then l.expires_at
        else j.expires_at end as expires_at, j.total_seconds as timeout_seconds,
      j.cause,
      coalesce(r.due_at, j.due_at) as due_at, d.ended_at,
      case when d.job_id is not null then d.outcome when l.job_id is not null then 'leased'
        when r.due_at > now() then 'scheduled' else 'available' end as state,
      coalesce(d.epoch, l.epoch, r.epoch, 0) as attempts,
      coalesce(d.agent_id, l.agent_id) as agent_id,
      coalesce(l.cancel_requested, false) as cancel_requested,
      ${reason} as failure_code,
      coalesce(d.started_at, l.started_at) as started_at,
      (extract(epoch from coalesce(d.ended_at, clock_timestamp())
        - coalesce(d.started_at, l.started_at)) * 1000)::bigint as duration_ms,
      case when l.running then ${progress} end as progress,
      d.failure_detail,
      case when r.due_at <= now() then ${hold}
        when r.due_at > now() then coalesce(${windowHold}, 'not_due') end as hold
    from jobs j ${placesOf(state, failureCode)}
    where ${isVisible("j.site_id", selection.scope)}
      ${jobId === undefined ? sql`` : sql`and j.id = ${jobId}`}
      ${before === undefined ? sql`` : sql`and j.id < ${before}`}
      ${fulfils(selection)} ${isOneOf(reason, failureCode)}
    order by j.id desc limit ${selection.limit}`.execute(db);
  return rows;
}

/** The places of jobs; where states are asked for, all of one place, the query starts there. */
function placesOf(
  states: readonly JobState[] = [],
  failureCode: readonly FailureCode[] | undefined = undefined,
) {
  const [state] = states;
  const only = state && PLACES[state];
  const due = states.length > 1
    ? sql``
    : sql`and r.due_at ${sql.raw(state === "available" ? "<=" : ">")} now()`;
  const outcomes = sql`and d.outcome = any(${[...states]}::text[])
    ${isOneOf(sql`d.failure_code`, failureCode)}`;
  return sql`
    ${only === "ready" ? sql`join` : sql`left join`} ready r
      on r.site_id = j.site_id and r.job_id = j.id ${only === "ready" ? due : sql``}
    ${only === "leases" ? sql`join` : sql`left join`} leases l
      on l.site_id = j.site_id and l.job_id = j.id
    ${only === "done" ? sql`join` : sql`left join`} done d
      on d.site_id = j.site_id and d.job_id = j.id ${only === "done" ? outcomes : sql``}`;
}

const PLACES = {
  scheduled: "ready",
  available: "ready",
  leased: "leases",
  completed: "done",
  failed: "done",
  cancelled: "done",
  dead: "done",
} as const satisfies Record<JobState, string>;

const JOB_STATES = Object.keys(PLACES) as JobState[];

/** The newest thing that the agent of lease `l` said of its attempt. */
const progress = sql`(select jsonb_build_object('step', g.step, 'percent', g.percent,
    'bytes', g.bytes, 'at', g.at)
  from job_log g where g.site_id = l.site_id and g.job_id = l.job_id and g.event = 'progress'
    and g.epoch = l.epoch and g.at >= l.granted_at
  order by g.at desc limit 1)`;

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
    when ${savedStarts} < 1 then 'start_rate'
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
    .select(["durationMs", "grantedAt", "startedAt", "endedAt"])
    .where("siteId", "=", job.siteId).where("jobId", "=", job.jobId)
    .orderBy("epoch").orderBy("endedAt").limit(500).execute();
}

/** A device that a job can be ordered for. */
export interface Target {
  readonly deviceId: DeviceId;
  readonly siteId: SiteId;
  readonly platform: string;
}

/** The devices that are named, or those of a site, or with certain tags; archived ones are left alone. */
export async function selectTargets(
  db: Kysely<Database>,
  { scope, deviceIds, siteId, tags, limit }: {
    readonly scope: Scope;
    readonly deviceIds?: readonly DeviceId[] | undefined;
    readonly siteId?: SiteId | undefined;
    readonly tags?: string | undefined;
    readonly limit: number;
  },
): Promise<Target[]> {
  const { rows } = await sql<Target>`
    select id as device_id, site_id, platform from devices
    where archived_at is null and ${isVisible("devices.site_id", scope)}
      ${deviceIds ? sql`and id = any(${[...deviceIds]}::uuid[])` : sql``}
      ${siteId ? sql`and site_id = ${siteId}` : sql``}
      ${tags === undefined ? sql`` : sql`and ${hasTags("devices.id", tags)}`}
    order by site_id, id limit ${limit}`.execute(db);
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

/** What a job reported, where it was completed. */
export async function selectReport(
  db: Kysely<Database>,
  job: { siteId: SiteId; jobId: JobId },
): Promise<unknown> {
  const row = await db.selectFrom("done").select("report").where("siteId", "=", job.siteId)
    .where("jobId", "=", job.jobId).executeTakeFirst();
  return row?.report ?? null;
}
