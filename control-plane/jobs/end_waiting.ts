import { type RawBuilder, sql, type Transaction } from "kysely";
import type { DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import { type FailureCode, failureSentence } from "@rookery/shared/jobs/failure.ts";
import type { Database } from "../database/schema.ts";
import { announceJobs } from "../outbox/announce.ts";
import { nowEnded } from "./accept_ended.ts";
import { workOf } from "./kinds.ts";
import { lockQueue } from "./lock_queue.ts";

/** Jobs that are ended in one transaction: the site's queue stands still meanwhile. */
export const END_BATCH = 200;

interface EndedJob {
  readonly jobId: JobId;
  readonly deviceId: DeviceId;
  readonly kind: string;
  readonly code: FailureCode;
}

/**
 * Ends waiting jobs of a site that can never run: those that `doomed` selects (`job_id, code`, at most `END_BATCH`).
 * Returns how many. Lock order: site, ready, open_job, done, device_status.
 */
export async function endWaiting(
  tx: Transaction<Database>,
  siteId: SiteId,
  { doomed }: { readonly doomed: RawBuilder<unknown> },
): Promise<number> {
  await lockQueue(tx, siteId);
  const { rows } = await sql<EndedJob>`
    with doomed as (${doomed}), taken as (
      delete from ready r using doomed d
      where r.site_id = ${siteId} and r.job_id = d.job_id returning r.*, d.code
    ), closed as (
      delete from open_jobs o using taken t where o.site_id = t.site_id and o.job_id = t.job_id
    ), ended as (
      insert into done (site_id, job_id, device_id, kind, epoch, outcome, failure_code)
      select site_id, job_id, device_id, kind, epoch, 'failed', code from taken returning *
    ), told as (${announceJobs("ended", nowEnded)})
    select job_id, device_id, kind, code from taken order by device_id`.execute(tx);
  for (const { deviceId, kind, code } of rows) {
    const failure = { code, detail: failureSentence(code) };
    await workOf(kind).noteUnrun?.(tx, { siteId, deviceId, failure });
  }
  return rows.length;
}
