import { type Kysely, sql, type Transaction } from "kysely";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { lockQueue } from "./lock_queue.ts";

/**
 * Puts due jobs of devices that may not be touched now off to when they may. A claim grants none of them anyway; but as
 * due ones they would wake every agent of their site again and again.
 */
export async function putOffUntouchable(db: Kysely<Database>): Promise<number> {
  const { rows: sites } = await sql<{ siteId: SiteId }>`
    select distinct d.site_id from devices d join sites s on s.id = d.site_id
    join open_jobs o on o.site_id = d.site_id and o.device_id = d.id
    join ready r on r.site_id = o.site_id and r.job_id = o.job_id and r.due_at <= now()
    where d.windows is not null and not may_touch(d.windows, s.time_zone, now())
    order by d.site_id`.execute(db);
  let moved = 0;
  for (const { siteId } of sites) {
    moved += await inTransaction(db, async (tx) => {
      await lockQueue(tx, siteId);
      const { numAffectedRows } = await sql`
        update ready r set due_at = x.opens,
          rank = x.opens + make_interval(secs => greatest(r.offset_seconds, 0))
        from (
          select o.job_id, next_touch(d.windows, s.time_zone, now()) as opens
          from devices d join sites s on s.id = d.site_id
          join open_jobs o on o.site_id = d.site_id and o.device_id = d.id
          where d.site_id = ${siteId} and d.windows is not null
            and not may_touch(d.windows, s.time_zone, now())
        ) x
        where r.site_id = ${siteId} and r.job_id = x.job_id and r.due_at <= now()
          and x.opens is not null`.execute(tx);
      return Number(numAffectedRows ?? 0n);
    });
  }
  return moved;
}

/** The windows of a device have changed: what was put off for the old ones is due again. The site's queue is locked. */
export async function callBackUntouchable(
  tx: Transaction<Database>,
  device: { readonly siteId: SiteId; readonly deviceId: DeviceId },
): Promise<void> {
  await sql`
    update ready r set due_at = now(), rank = now() + make_interval(secs => r.offset_seconds)
    from open_jobs o join jobs j on j.site_id = o.site_id and j.id = o.job_id
    where o.site_id = ${device.siteId} and o.device_id = ${device.deviceId}
      and r.site_id = o.site_id and r.job_id = o.job_id
      and r.due_at > now() and j.due_at <= now() and r.last_failure is null`.execute(tx);
  await sql`update sites set queue_version = queue_version + 1 where id = ${device.siteId}`
    .execute(tx);
}
