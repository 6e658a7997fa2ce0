import { sql, type Transaction } from "kysely";
import type { JobUrgency } from "@rookery/shared/api/jobs.ts";
import { digestOf } from "@rookery/shared/canonical_json.ts";
import type { DeviceId, JobId, SiteId, UserId } from "@rookery/shared/ids.ts";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { offsetSeconds } from "./rank.ts";

const QUEUE_FULL_RETRY_SECONDS = 60;
/** How often an order is tried against jobs that end meanwhile. */
const MOST_LOOKS = 3;

export interface JobOrder {
  readonly siteId: SiteId;
  readonly deviceIds: readonly DeviceId[];
  readonly kind: JobKind;
  readonly payload: unknown;
  readonly urgency: JobUrgency;
  readonly priority: number;
  readonly requestedBy?: UserId;
  readonly parentId?: JobId;
}

export interface EnqueuedJob {
  readonly deviceId: DeviceId;
  readonly jobId: JobId;
  /** An open job of the same device, kind and payload took this one in. */
  readonly coalesced: boolean;
}

/**
 * Puts one job per device into the queue of a site, due now. A device that has such a job waiting keeps it,
 * raised to the better rank. Refuses the whole order with `queue-full` when it would pass `max_queued`, and with
 * `conflict` when a device is archived.
 */
export async function enqueueJobs(
  tx: Transaction<Database>,
  order: JobOrder,
): Promise<EnqueuedJob[]> {
  const payloadKey = order.kind === "backup_config" ? "" : await digestOf(order.payload);
  const offset = offsetSeconds(order);
  const maxQueued = await lockSite(tx, order.siteId, offset);
  const jobs: EnqueuedJob[] = [];
  let missing = order.deviceIds;
  // A job may end between the two statements: then it was in the way of a new one and cannot be raised either.
  for (let look = 0; look < MOST_LOOKS && missing.length > 0; look++) {
    const opened = await insertJobs(tx, order, { deviceIds: missing, payloadKey, offset });
    missing = without(missing, opened);
    const raised = await raiseWaiting(tx, order, { deviceIds: missing, payloadKey, offset });
    missing = without(missing, raised);
    jobs.push(...opened, ...raised);
  }
  if (missing.length > 0) {
    throw new ProblemError("conflict", `Device ${missing[0]} is archived; restore it first`);
  }
  if (jobs.some((job) => !job.coalesced)) await refuseWhenFull(tx, order.siteId, maxQueued);
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
  readonly payloadKey: string;
  readonly offset: number;
}

/** Devices that have such a job open, or that are archived, are passed over. */
async function insertJobs(
  tx: Transaction<Database>,
  order: JobOrder,
  { deviceIds, payloadKey, offset }: Place,
): Promise<EnqueuedJob[]> {
  const wanted = deviceIds.map((deviceId) => ({ device_id: deviceId, job_id: newId() }));
  const { rows } = await sql<{ deviceId: DeviceId; jobId: JobId }>`
    with wanted as (
      select w.* from jsonb_to_recordset(${JSON.stringify(wanted)}::text::jsonb)
        as w(device_id uuid, job_id uuid)
      join devices d on d.id = w.device_id and d.site_id = ${order.siteId}
        and d.archived_at is null
    ), opened as (
      insert into open_jobs (site_id, device_id, kind, payload_key, job_id)
      select ${order.siteId}, device_id, ${order.kind}, ${payloadKey}, job_id from wanted
      on conflict do nothing returning device_id, job_id
    ), stated as (
      insert into jobs (site_id, id, device_id, kind, payload, payload_key, priority, urgency,
        parent_id, requested_by, due_at)
      select ${order.siteId}, job_id, device_id, ${order.kind},
        ${JSON.stringify(order.payload)}::text::jsonb, ${payloadKey}, ${order.priority},
        ${order.urgency}, ${order.parentId ?? null}, ${order.requestedBy ?? null}, now()
      from opened
    )
    insert into ready (site_id, rank, job_id, device_id, kind, due_at, offset_seconds,
      credential_id)
    select ${order.siteId}, now() + make_interval(secs => ${offset}), job_id, device_id,
      ${order.kind}, now(), ${offset},
      (select d.credential_id from devices d where d.id = opened.device_id)
    from opened returning device_id, job_id`.execute(tx);
  return rows.map((row) => ({ ...row, coalesced: false }));
}

/** Counted after the insert and under the site's lock, so the limit is exact; the refusal rolls all back. */
async function refuseWhenFull(tx: Transaction<Database>, siteId: SiteId, maxQueued: number) {
  const { rows } = await sql<{ open: number }>`
    select count(*)::int as open from open_jobs where site_id = ${siteId}`.execute(tx);
  const open = rows[0]?.open ?? 0;
  if (open <= maxQueued) return;
  throw new ProblemError(
    "queue-full",
    `The queue of this site holds at most ${maxQueued} jobs; this order would make it ${open}`,
    { retryAfterSeconds: QUEUE_FULL_RETRY_SECONDS },
  );
}

/** "Back up now" on a waiting job raises its rank; a leased one is running already and is left alone. */
async function raiseWaiting(
  tx: Transaction<Database>,
  order: JobOrder,
  { deviceIds, payloadKey, offset }: Place,
): Promise<EnqueuedJob[]> {
  if (deviceIds.length === 0) return [];
  const { rows } = await sql<{ deviceId: DeviceId; jobId: JobId }>`
    with held as (
      select device_id, job_id from open_jobs
      where site_id = ${order.siteId} and kind = ${order.kind} and payload_key = ${payloadKey}
        and device_id = any(${[...deviceIds]}::uuid[])
    ), raised as (
      update ready r set rank = now() + make_interval(secs => ${offset}), due_at = now(),
        offset_seconds = ${offset}
      from held where r.site_id = ${order.siteId} and r.job_id = held.job_id
        and r.rank > now() + make_interval(secs => ${offset})
      returning r.job_id
    )
    select device_id, job_id from held`.execute(tx);
  return rows.map((row) => ({ ...row, coalesced: true }));
}
