import { sql, type Transaction } from "kysely";
import type { JobUrgency } from "@rookery/shared/api/jobs.ts";
import { digestOf } from "@rookery/shared/canonical_json.ts";
import type { DeviceId, JobId, SiteId, UserId } from "@rookery/shared/ids.ts";
import { JOB_KINDS, type JobKind } from "@rookery/shared/jobs/mod.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { announceJobs } from "../outbox/announce.ts";
import { offsetSeconds } from "./rank.ts";

const QUEUE_FULL_RETRY_SECONDS = 60;
/** Devices in one statement. */
const MOST_AT_ONCE = 500;
/** How often an order is tried against jobs that end meanwhile. */
const MOST_LOOKS = 3;
const NOBODY = "00000000-0000-0000-0000-000000000000";

export interface JobOrder {
  readonly siteId: SiteId;
  readonly deviceIds: readonly DeviceId[];
  readonly kind: JobKind;
  readonly payload: unknown;
  readonly urgency: JobUrgency;
  readonly priority: number;
  readonly requestedBy?: UserId;
  readonly parentId?: JobId;
  /** When it is to run. Default: now. */
  readonly dueAt?: Temporal.Instant;
  /** Seconds that the jobs of some devices are due later than that, and may begin later: jitter. */
  readonly delays?: ReadonlyMap<DeviceId, number>;
  /** By then it must have begun. Default: it waits for as long as it takes. */
  readonly expiresAt?: Temporal.Instant;
  /** How long its session may take. Default: what the device says. */
  readonly totalSeconds?: number;
  /** The run of a policy that it is; a device whose job of that run was made before is passed over. */
  readonly occurrence?: { readonly policyId: string; readonly at: Temporal.Instant };
  /**
   * Jobs of one device, kind and payload are one job while the first of them waits, unless they differ in this: what is
   * ordered for tomorrow night is not what is ordered for now.
   */
  readonly slot?: string;
}

export interface EnqueuedJob {
  readonly deviceId: DeviceId;
  readonly jobId: JobId;
  /** An open job of the same device, kind and payload took this one in. */
  readonly coalesced: boolean;
}

/**
 * Puts one job per device into the queue of a site. A device that has such a job waiting keeps it,
 * raised to the better rank. Refuses the whole order with `queue-full` when it would pass `max_queued`, and with
 * `conflict` when a device is archived.
 */
export async function enqueueJobs(
  tx: Transaction<Database>,
  order: JobOrder,
): Promise<EnqueuedJob[]> {
  const { payload, logsIn } = JOB_KINDS[order.kind].read(order.payload);
  const place = {
    ...{ payload, logsIn },
    payloadKey: await payloadKeyOf(order, payload),
    offset: offsetSeconds(order),
  };
  const maxQueued = await lockSite(tx, order.siteId, place.offset);
  const jobs: EnqueuedJob[] = [];
  let missing = await withoutOccurrence(tx, order);
  // A job may end between the two statements: then it was in the way of a new one and cannot be raised either.
  for (let look = 0; look < MOST_LOOKS && missing.length > 0; look++) {
    const opened = await inParts(
      missing,
      (deviceIds) => insertJobs(tx, order, { ...place, deviceIds }),
    );
    missing = without(missing, opened);
    const raised = await inParts(
      missing,
      (deviceIds) => raiseWaiting(tx, order, { ...place, deviceIds }),
    );
    missing = without(missing, raised);
    jobs.push(...opened, ...raised);
  }
  if (missing.length > 0) {
    throw new ProblemError("conflict", `Device ${missing[0]} is archived; restore it first`);
  }
  if (jobs.some((job) => !job.coalesced)) await refuseWhenFull(tx, order.siteId, maxQueued);
  return jobs;
}

/** What tells open jobs of one device and kind apart. */
async function payloadKeyOf({ kind, slot }: JobOrder, payload: unknown): Promise<string> {
  const key = JOB_KINDS[kind].oneForDevice ? "" : await digestOf(payload);
  return slot === undefined ? key : `${key}@${slot}`;
}

/** Under the site's lock, so that of two who enqueue the same run the second one finds nothing left to do. */
async function withoutOccurrence(
  tx: Transaction<Database>,
  { siteId, deviceIds, kind, occurrence }: JobOrder,
): Promise<readonly DeviceId[]> {
  if (!occurrence) return deviceIds;
  const { rows } = await sql<{ deviceId: DeviceId }>`
    select wanted.device_id from unnest(${[...deviceIds]}::uuid[]) wanted(device_id)
    where not exists (select 1 from jobs j where j.site_id = ${siteId}
      and j.device_id = wanted.device_id and j.kind = ${kind}
      and j.policy_id = ${occurrence.policyId} and j.occurrence_at = ${occurrence.at}::timestamptz)`
    .execute(tx);
  return rows.map(({ deviceId }) => deviceId);
}

/** The parts of a large statement are joined with each other, which costs the square of their size. */
async function inParts(
  deviceIds: readonly DeviceId[],
  run: (deviceIds: readonly DeviceId[]) => Promise<EnqueuedJob[]>,
): Promise<EnqueuedJob[]> {
  const jobs: EnqueuedJob[] = [];
  for (let from = 0; from < deviceIds.length; from += MOST_AT_ONCE) {
    jobs.push(...await run(deviceIds.slice(from, from + MOST_AT_ONCE)));
  }
  return jobs;
}

function without(deviceIds: readonly DeviceId[], jobs: readonly EnqueuedJob[]): DeviceId[] {
  const found = new Set(jobs.map((job) => job.deviceId));
  return deviceIds.filter((deviceId) => !found.has(deviceId));
}

/** Orders enqueuers and claimers of a site; a better rank than "now" makes every claim floor invalid. */
async function lockSite(tx: Transaction<Database>, siteId: SiteId, offset: number) {
  const { rows } = await sql<{ maxQueued: number }>`
    update sites set queue_version = queue_version + ${offset < 0 ? 1 : 0}
    where id = ${siteId} returning max_queued`.execute(tx);
  if (!rows[0]) throw new ProblemError("not-found", "There is no such site");
  return rows[0].maxQueued;
}

interface Place {
  readonly deviceIds: readonly DeviceId[];
  readonly payload: unknown;
  readonly payloadKey: string;
  readonly logsIn: boolean;
  readonly offset: number;
}

/**
 * Times of the device in `w`. A negative offset counts only once the job is due, see `promoteDue`. What should have been
 * due earlier is due now: claim floors hide what is ranked behind them.
 */
function timesOf({ dueAt, expiresAt }: JobOrder, offset: number) {
  const later = sql`make_interval(secs => w.delay)`;
  const due = sql`greatest(coalesce(${dueAt ?? null}::timestamptz, now()) + ${later}, now())`;
  const isLater = sql`${due} > now()`;
  const rank = sql`case when ${isLater} and ${offset}::int < 0 then ${due}
    else ${due} + make_interval(secs => ${offset}) end`;
  return { due, rank, expires: sql`${expiresAt ?? null}::timestamptz + ${later}` };
}

/** The devices as `w`, each with the id of the job that it would get. */
function wantedOf(deviceIds: readonly DeviceId[], { delays }: JobOrder) {
  const wanted = deviceIds.map((deviceId) => ({
    device_id: deviceId,
    job_id: newId(),
    delay: delays?.get(deviceId) ?? 0,
  }));
  return sql`jsonb_to_recordset(${JSON.stringify(wanted)}::text::jsonb)
    as w(device_id uuid, job_id uuid, delay integer)`;
}

/** For whose sake alone the job is open; what a person asks for does not go with a policy. */
function sakeOf({ occurrence, requestedBy }: JobOrder): string | null {
  return requestedBy === undefined ? occurrence?.policyId ?? null : null;
}

/** Devices that have such a job open, or that are archived, are passed over. */
async function insertJobs(
  tx: Transaction<Database>,
  order: JobOrder,
  { deviceIds, payload, payloadKey, logsIn, offset }: Place,
): Promise<EnqueuedJob[]> {
  const { due, rank, expires } = timesOf(order, offset);
  const { rows } = await sql<{ deviceId: DeviceId; jobId: JobId }>`
    with wanted as (
      select w.* from ${wantedOf(deviceIds, order)}
      join devices d on d.id = w.device_id and d.site_id = ${order.siteId}
        and d.archived_at is null
    ), opened as (
      insert into open_jobs (site_id, device_id, kind, payload_key, job_id, policy_id)
      select ${order.siteId}, device_id, ${order.kind}, ${payloadKey}, job_id,
        ${sakeOf(order)}::uuid
      from wanted on conflict do nothing returning device_id, job_id
    ), placed as (
      select w.* from opened join wanted w using (device_id, job_id)
    ), stated as (
      insert into jobs (site_id, id, device_id, kind, payload, payload_key, priority, urgency,
        parent_id, requested_by, policy_id, occurrence_at, due_at, expires_at, total_seconds)
      select ${order.siteId}, job_id, device_id, ${order.kind},
        ${JSON.stringify(payload)}::text::jsonb, ${payloadKey}, ${order.priority},
        ${order.urgency}, ${order.parentId ?? null}, ${order.requestedBy ?? null},
        ${order.occurrence?.policyId ?? null}::uuid, ${order.occurrence?.at ?? null}::timestamptz,
        ${due}, ${expires}, ${order.totalSeconds ?? null}::int
      from placed w
    ), queued as (
      insert into ready (site_id, rank, job_id, device_id, kind, due_at, offset_seconds, logs_in,
      expires_at, credential_id)
    select ${order.siteId}, ${rank}, job_id, device_id, ${order.kind}, ${due}, ${offset}, ${logsIn},
      ${expires}, (select d.credential_id from devices d where d.id = w.device_id and ${logsIn})
      from placed w returning site_id, device_id, job_id, kind, due_at
    ), told as (${announceJobs("enqueued", enqueued)})
    select device_id, job_id from queued`.execute(tx);
  return rows.map((row) => ({ ...row, coalesced: false }));
}

const enqueued = sql`
  select site_id, job_id, device_id, jsonb_build_object('kind', kind, 'dueAt', due_at,
    'state', case when due_at > now() then 'scheduled' else 'available' end) as detail
  from queued`;

/** Counted after the insert and under the site's lock, so the limit is exact; the refusal rolls all back. */
async function refuseWhenFull(tx: Transaction<Database>, siteId: SiteId, maxQueued: number) {
  const { rows } = await sql<{ open: number }>`
    select count(*)::int as open from open_jobs where site_id = ${siteId}`.execute(tx);
  const open = rows[0]?.open ?? 0;
  if (open > maxQueued) throw queueFull("of this site", maxQueued, open);
  await refuseWhenSystemFull(tx);
}

/** What a row takes in its table at the very least: as many as fit in its size are there at most. */
const LEAST_ROW_BYTES = 80;

/** Counted only where the size of the table leaves it open; two orders at once may both just fit. */
async function refuseWhenSystemFull(tx: Transaction<Database>): Promise<void> {
  const { rows: [system] } = await sql<{ maxQueued: number; open: number }>`
    select max_queued, case when pg_relation_size('open_jobs') / ${LEAST_ROW_BYTES}::int <= max_queued
      then 0 else (select count(*)::int from open_jobs) end as open
    from installation`.execute(tx);
  if (system && system.open > system.maxQueued) {
    throw queueFull("of all sites together", system.maxQueued, system.open);
  }
}

function queueFull(whose: string, most: number, open: number): ProblemError {
  const detail = `The queue ${whose} holds at most ${most} jobs; this order would make it ${open}`;
  return new ProblemError("queue-full", detail, { retryAfterSeconds: QUEUE_FULL_RETRY_SECONDS });
}

/** "Back up now" on a waiting job raises its rank; a leased one is running already and is left alone. */
async function raiseWaiting(
  tx: Transaction<Database>,
  order: JobOrder,
  { deviceIds, payloadKey, offset }: Place,
): Promise<EnqueuedJob[]> {
  if (deviceIds.length === 0) return [];
  const { due, rank } = timesOf(order, offset);
  const { rows } = await sql<{ deviceId: DeviceId; jobId: JobId }>`
    with found as materialized (
      select device_id, job_id, policy_id from open_jobs
      where site_id = ${order.siteId} and kind = ${order.kind} and payload_key = ${payloadKey}
        and device_id = any(${[...deviceIds]}::uuid[])
    ), held as (
      select f.device_id, f.job_id, f.policy_id, w.delay from found f join ${
    wantedOf(deviceIds, order)
  } using (device_id)
    ), raised as (
      update ready r set rank = ${rank}, due_at = ${due}, offset_seconds = ${offset}
      from held w where r.site_id = ${order.siteId} and r.job_id = w.job_id and r.rank > ${rank}
      returning r.site_id, r.job_id, r.device_id, r.epoch, r.due_at
    ), logged as (
      insert into job_log (site_id, job_id, event, epoch)
      select site_id, job_id, 'raised', epoch from raised
    ), told as (
      ${
    announceJobs(
      "raised",
      sql`select site_id, job_id, device_id, jsonb_build_object('dueAt', due_at) as detail
        from raised`,
    )
  }
    ), shared as (
      update open_jobs o set policy_id = null from held w
      where o.site_id = ${order.siteId} and o.job_id = w.job_id
        and w.policy_id <> coalesce(${sakeOf(order)}::uuid, ${NOBODY}::uuid)
    )
    select device_id, job_id from held`.execute(tx);
  await extendDeadlines(tx, order, rows);
  return rows.map((row) => ({ ...row, coalesced: true }));
}

/** Whoever asks for a job that waits already gives it as much time as a new one would have. */
async function extendDeadlines(
  tx: Transaction<Database>,
  order: JobOrder,
  held: readonly { readonly deviceId: DeviceId; readonly jobId: JobId }[],
): Promise<void> {
  if (held.length === 0) return;
  const { expires } = timesOf(order, 0);
  await sql`
    with extended as (
      update ready r set expires_at =
        case when ${expires} is not null then greatest(r.expires_at, ${expires}) end
      from ${wantedOf(held.map(({ deviceId }) => deviceId), order)}
      where r.site_id = ${order.siteId} and r.job_id = any(${
    held.map(({ jobId }) => jobId)
  }::uuid[])
        and r.device_id = w.device_id and r.expires_at < coalesce(${expires}, 'infinity')
      returning r.job_id, r.expires_at
    )
    update jobs j set expires_at = e.expires_at from extended e
    where j.site_id = ${order.siteId} and j.id = e.job_id`.execute(tx);
}
