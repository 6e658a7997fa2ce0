import { sql, type Transaction } from "kysely";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { lockQueue } from "../jobs/lock_queue.ts";
import { endJobs } from "./end_jobs.ts";

/**
 * Deletes an archived device and all that is known of it, at every site that it was at. The ledgers of what agents held, and
 * the audit, stay: they are about agents and people.
 */
export async function deleteForEver(
  tx: Transaction<Database>,
  { siteId, deviceId }: { readonly siteId: SiteId; readonly deviceId: DeviceId },
): Promise<void> {
  await lockQueue(tx, siteId);
  await endJobs(tx, { siteId, deviceId });
  for (const place of await placesOf(tx, { siteId, deviceId })) {
    await deleteJobs(tx, { siteId: place, deviceId });
  }
  await sql`delete from backups where site_id = ${siteId} and device_id = ${deviceId}`.execute(tx);
  await sql`delete from connect_timeouts where site_id = ${siteId} and device_id = ${deviceId}`
    .execute(tx);
  // All else goes with its row.
  const { numAffectedRows } = await sql`
    delete from devices
    where id = ${deviceId} and site_id = ${siteId} and archived_at is not null`.execute(tx);
  if (numAffectedRows !== 1n) {
    throw new ProblemError("conflict", "The device is in use again, or gone.");
  }
}

async function placesOf(
  tx: Transaction<Database>,
  { siteId, deviceId }: { readonly siteId: SiteId; readonly deviceId: DeviceId },
): Promise<SiteId[]> {
  const { rows } = await sql<{ siteId: SiteId }>`
    select ${siteId}::uuid as site_id
    union select from_site_id from device_marks
      where device_id = ${deviceId} and from_site_id is not null`.execute(tx);
  return rows.map((row) => row.siteId);
}

/** Late reports find no lease of theirs any more. */
async function deleteJobs(
  tx: Transaction<Database>,
  { siteId, deviceId }: { readonly siteId: SiteId; readonly deviceId: DeviceId },
): Promise<void> {
  await sql`
    with gone as (
      delete from jobs where site_id = ${siteId} and device_id = ${deviceId} returning id
    ), results as (
      delete from done where site_id = ${siteId} and job_id in (select id from gone)
    ), tries as (
      delete from attempts where site_id = ${siteId} and job_id in (select id from gone)
    ), lines as (
      delete from job_log where site_id = ${siteId} and job_id in (select id from gone)
    ), granted as (
      delete from grants where site_id = ${siteId} and job_id in (select id from gone)
      returning lease_id
    )
    delete from uploads where lease_id in (select lease_id from granted)`.execute(tx);
}
