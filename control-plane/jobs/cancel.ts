import { type Kysely, sql, type Transaction } from "kysely";
import type { JobId, SiteId } from "@rookery/shared/ids.ts";
import { inTransaction } from "../database/transaction.ts";
import type { Database } from "../database/schema.ts";
import { announceJobs } from "../outbox/announce.ts";
import { nowEnded } from "./accept_ended.ts";

/** `cancelled`: it was waiting; `requested`: its agent is told with the next heartbeat; `ended`: too late. */
export type Cancellation = "cancelled" | "requested" | "ended" | "unknown";

/** A job may be claimed or returned between two looks. */
const MOST_LOOKS = 3;

/** Cancels a job wherever it is. */
export function cancelJob(
  db: Kysely<Database>,
  job: { siteId: SiteId; jobId: JobId },
): Promise<Cancellation> {
  return inTransaction(db, (tx) => cancelWithin(tx, job));
}

/** The same as part of a larger transaction, which must hold no lock that comes later than leases. */
export async function cancelWithin(
  tx: Transaction<Database>,
  { siteId, jobId }: { siteId: SiteId; jobId: JobId },
): Promise<Cancellation> {
  const { requested, cancelled } = await cancelMany(tx, { siteId, jobIds: [jobId] });
  if (requested.length > 0) return "requested";
  if (cancelled.length > 0) return "cancelled";
  const { rows } = await sql`
    select 1 from done where site_id = ${siteId} and job_id = ${jobId}`.execute(tx);
  return rows.length > 0 ? "ended" : "unknown";
}

/**
 * Cancels jobs of a site. The places are looked through in the direction in which jobs move, several times, and in the order
 * of their keys. What is in neither list had ended, or never was.
 */
export async function cancelMany(
  tx: Transaction<Database>,
  { siteId, jobIds }: { siteId: SiteId; jobIds: readonly JobId[] },
): Promise<{ requested: JobId[]; cancelled: JobId[] }> {
  const requested: JobId[] = [];
  const cancelled: JobId[] = [];
  let left = jobIds;
  for (let look = 0; look < MOST_LOOKS && left.length > 0; look++) {
    requested.push(...await flagLeased(tx, { siteId, jobIds: left }));
    cancelled.push(...await endReady(tx, { siteId, jobIds: left }));
    const found = new Set([...requested, ...cancelled]);
    left = jobIds.filter((jobId) => !found.has(jobId));
    // What is over moves no more.
    if (look === 0 && left.length > 0) left = await withoutEnded(tx, { siteId, jobIds: left });
  }
  return { requested, cancelled };
}

interface JobsOfSite {
  readonly siteId: SiteId;
  readonly jobIds: readonly JobId[];
}

/** Told and noted once, however often it is asked for. */
async function flagLeased(tx: Transaction<Database>, { siteId, jobIds }: JobsOfSite) {
  const { rows } = await sql<{ jobId: JobId }>`
    with held as (
      select site_id, device_id, job_id, epoch, cancel_requested as was_asked from leases
      where site_id = ${siteId} and job_id = any(${[...jobIds]}::uuid[])
      order by site_id, device_id for no key update
    ), flagged as (
      update leases l set cancel_requested = true from held h
      where l.site_id = h.site_id and l.device_id = h.device_id and not h.was_asked
      returning h.site_id, h.device_id, h.job_id, h.epoch, null::jsonb as detail
    ), logged as (
      insert into job_log (site_id, job_id, event, epoch)
      select site_id, job_id, 'cancel_requested', epoch from flagged
    ), told as (
      ${
    announceJobs("cancel_requested", sql`select site_id, job_id, device_id, detail from flagged`)
  }
    )
    select job_id from held`.execute(tx);
  return rows.map(({ jobId }) => jobId);
}

async function endReady(tx: Transaction<Database>, { siteId, jobIds }: JobsOfSite) {
  const { rows } = await sql<{ jobId: JobId }>`
    with waiting as (
      delete from ready where site_id = ${siteId} and job_id = any(${[...jobIds]}::uuid[])
      returning *
    ), closed as (
      delete from open_jobs o using waiting w
      where o.site_id = w.site_id and o.job_id = w.job_id
    ), ended as (
      insert into done (site_id, job_id, device_id, kind, epoch, outcome)
      select site_id, job_id, device_id, kind, epoch, 'cancelled' from waiting returning *
    ), told as (${announceJobs("ended", nowEnded)})
    select job_id from ended`.execute(tx);
  return rows.map(({ jobId }) => jobId);
}

async function withoutEnded(tx: Transaction<Database>, { siteId, jobIds }: JobsOfSite) {
  const { rows } = await sql<{ jobId: JobId }>`
    select job_id from done
    where site_id = ${siteId} and job_id = any(${[...jobIds]}::uuid[])`.execute(tx);
  const ended = new Set(rows.map(({ jobId }) => jobId));
  return jobIds.filter((jobId) => !ended.has(jobId));
}
