import { sql, type Transaction } from "kysely";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { cancelMany } from "../jobs/cancel.ts";
import { returnLeases } from "../jobs/return_leases.ts";
import { selectOpenJobs } from "./store.ts";

/**
 * Cancels the open jobs of a device, and takes one that runs away from its agent, which is told so by its next heartbeat. The
 * site's queue is locked: no other begins.
 */
export async function endJobs(
  tx: Transaction<Database>,
  { siteId, deviceId }: { readonly siteId: SiteId; readonly deviceId: DeviceId },
): Promise<void> {
  const jobIds = await selectOpenJobs(tx, { siteId, deviceId });
  if (jobIds.length === 0) return;
  await cancelMany(tx, { siteId, jobIds });
  await returnLeases(tx, sql`l.site_id = ${siteId} and l.device_id = ${deviceId}`, {
    attempt: "released",
    code: "cancelled",
    cost: "none",
  });
}
