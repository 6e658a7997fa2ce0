import { type Kysely, sql, type Transaction } from "kysely";
import type { DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import { type FailureCode, failureSentence } from "@rookery/shared/jobs/failure.ts";
import { lockDeviceStatus, writeFailedStatus } from "../backups/device_status.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { lockQueue } from "./lock_queue.ts";

/** Jobs that are ended in one transaction: the site's queue stands still meanwhile. */
const BATCH = 200;

interface EndedJob {
  readonly siteId: SiteId;
  readonly jobId: JobId;
  readonly deviceId: DeviceId;
  readonly code: FailureCode;
}

/**
 * Ends the due jobs whose credential is quarantined, for all devices or for theirs: nobody may log in for them. Run with
 * the upkeep of the queue and after every quarantine; twice is as good as once. Returns how many it ended.
 */
export async function endQuarantined(db: Kysely<Database>): Promise<number> {
  let ended = 0;
  for (const siteId of await findSites(db)) {
    for (let more = BATCH; more === BATCH;) {
      more = await inTransaction(db, (tx) => endBatch(tx, siteId));
      ended += more;
    }
  }
  return ended;
}

async function findSites(db: Kysely<Database>): Promise<SiteId[]> {
  const { rows } = await sql<{ siteId: SiteId }>`
    select distinct d.site_id from credential_versions v
    join credentials c on c.id = v.credential_id and c.current_version = v.version
    join devices d on d.credential_id = c.id
    where v.state = 'quarantined' and exists (
      select 1 from ready r where r.site_id = d.site_id and r.credential_id = c.id)
    union
    select d.site_id from credential_refusals q
    join credentials c on c.id = q.credential_id and c.current_version = q.version
    join devices d on d.id = q.device_id and d.credential_id = c.id
    where q.quarantined_at is not null and exists (select 1 from open_jobs o
      where o.site_id = d.site_id and o.device_id = d.id)`.execute(db);
  return rows.map(({ siteId }) => siteId);
}

/** Site, ready, open_job, done, device_status: the lock order. */
async function endBatch(tx: Transaction<Database>, siteId: SiteId): Promise<number> {
  await lockQueue(tx, siteId);
  const jobs = await endJobs(tx, siteId);
  for (const { deviceId, code } of jobs) {
    const at = await lockDeviceStatus(tx, { siteId, deviceId });
    const failure = { code, detail: failureSentence(code) };
    await writeFailedStatus(tx, { siteId, deviceId, at, failure });
  }
  return jobs.length;
}

async function endJobs(tx: Transaction<Database>, siteId: SiteId): Promise<EndedJob[]> {
  const { rows } = await sql<EndedJob>`
    with doomed as (
      select r.job_id, 'credential_quarantined' as code from credential_versions v
      join credentials c on c.id = v.credential_id and c.current_version = v.version
      join ready r on r.site_id = ${siteId} and r.credential_id = c.id and r.due_at <= now()
      where v.state = 'quarantined'
      union
      select r.job_id, 'credential_quarantined_on_device' from credential_refusals q
      join credentials c on c.id = q.credential_id and c.current_version = q.version
      join credential_versions v on v.credential_id = c.id and v.version = q.version
      join devices d on d.id = q.device_id and d.credential_id = c.id and d.site_id = ${siteId}
      join open_jobs o on o.site_id = d.site_id and o.device_id = d.id
      join ready r on r.site_id = o.site_id and r.job_id = o.job_id and r.due_at <= now()
      where q.quarantined_at is not null and v.state <> 'quarantined'
      limit ${BATCH}
    ), taken as (
      delete from ready r using doomed d
      where r.site_id = ${siteId} and r.job_id = d.job_id returning r.*, d.code
    ), closed as (
      delete from open_jobs o using taken t where o.site_id = t.site_id and o.job_id = t.job_id
    ), ended as (
      insert into done (site_id, job_id, device_id, kind, epoch, outcome, failure_code)
      select site_id, job_id, device_id, kind, epoch, 'failed', code from taken
    )
    select site_id, job_id, device_id, code from taken order by device_id`.execute(tx);
  return rows;
}
