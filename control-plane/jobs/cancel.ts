import { type Kysely, sql, type Transaction } from "kysely";
import type { JobId, SiteId } from "@rookery/shared/ids.ts";
import { inTransaction } from "../database/transaction.ts";
import type { Database } from "../database/schema.ts";

/** `cancelled`: it was waiting; `requested`: its agent is told with the next heartbeat; `ended`: too late. */
export type Cancellation = "cancelled" | "requested" | "ended" | "unknown";

/**
 * Cancels a job wherever it is. The places are looked through in the direction in which jobs move, twice,
 * because a job may be claimed or returned between two looks.
 */
export function cancelJob(
  db: Kysely<Database>,
  job: { siteId: SiteId; jobId: JobId },
): Promise<Cancellation> {
  return inTransaction(db, (tx) => cancelWithin(tx, job));
}

/** The same as part of a larger transaction, which must hold no lock that comes later than leases. */
export async function cancelWithin(
  tx: Transaction<Database>,
  job: { siteId: SiteId; jobId: JobId },
): Promise<Cancellation> {
  for (let look = 0; look < 3; look++) {
    const { rows: [flagged] } = await sql`
        update leases set cancel_requested = true
        where site_id = ${job.siteId} and job_id = ${job.jobId} returning 1`.execute(tx);
    if (flagged) return "requested";
    const { rows: [ended] } = await sql`
        with waiting as (
          delete from ready where site_id = ${job.siteId} and job_id = ${job.jobId} returning *
        ), closed as (
          delete from open_jobs o using waiting w
          where o.site_id = w.site_id and o.job_id = w.job_id
        )
        insert into done (site_id, job_id, device_id, kind, epoch, outcome)
        select site_id, job_id, device_id, kind, epoch, 'cancelled' from waiting
        returning 1`.execute(tx);
    if (ended) return "cancelled";
    const { rows: [over] } = await sql`
        select 1 from done where site_id = ${job.siteId} and job_id = ${job.jobId}`.execute(tx);
    if (over) return "ended";
  }
  return "unknown";
}
