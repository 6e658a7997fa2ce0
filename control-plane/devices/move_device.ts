import { type Kysely, sql, type Transaction } from "kysely";
import { type DeviceId, Sha256, type SiteId, type UserId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { copyBlob } from "../backups/blob_store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { lockQueue } from "../jobs/lock_queue.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { endJobs } from "./end_jobs.ts";
import { insertMark } from "./mark_store.ts";

export interface DeviceMove {
  readonly deviceId: DeviceId;
  readonly from: SiteId;
  readonly to: SiteId;
  readonly userId: UserId;
}

/** What is kept of a device and names its site. */
const TAKEN_ALONG = [
  "host_keys",
  "host_key_windows",
  "device_status",
  "revisions",
  "current_texts",
  "backups",
] as const;
/** What was about the place and not about the device. */
const LEFT_BEHIND = ["change_hints", "connect_timeouts"] as const;

/**
 * Moves a device with all that is kept of it. Contents are sealed for their site: they are sealed anew, most of them before
 * the transaction. The old site keeps its copies until retention finds that nobody refers to them. `audit` is written with it.
 */
export async function moveAlong(
  { db, keyRing }: { readonly db: Kysely<Database>; readonly keyRing: KeyRing },
  move: DeviceMove,
  audit: (tx: Transaction<Database>) => Promise<void>,
): Promise<void> {
  await copyContents(db, keyRing, move);
  await inTransaction(db, async (tx) => {
    for (const siteId of [move.from, move.to].sort()) await lockQueue(tx, siteId);
    await endJobs(tx, { siteId: move.from, deviceId: move.deviceId });
    await takeDevice(tx, move);
    await copyContents(tx, keyRing, move);
    for (const table of TAKEN_ALONG) {
      await sql`update ${sql.table(table)} set site_id = ${move.to}
        where device_id = ${move.deviceId} and site_id = ${move.from}`.execute(tx);
    }
    for (const table of LEFT_BEHIND) {
      await sql`delete from ${sql.table(table)}
        where device_id = ${move.deviceId} and site_id = ${move.from}`.execute(tx);
    }
    const { deviceId, from: fromSiteId, userId: markedBy } = move;
    await insertMark(tx, { deviceId, kind: "moved", markedBy, fromSiteId });
    await audit(tx);
  });
}

/** From here on, results of the old site have nowhere to go. */
async function takeDevice(tx: Transaction<Database>, { deviceId, from, to }: DeviceMove) {
  const { numAffectedRows } = await sql`
    update devices set site_id = ${to}, updated_at = now()
    where id = ${deviceId} and site_id = ${from} and archived_at is null`.execute(tx);
  if (numAffectedRows === 1n) return;
  throw new ProblemError("conflict", "The device was moved or archived meanwhile.");
}

async function copyContents(
  db: Kysely<Database>,
  keyRing: KeyRing,
  { deviceId, from, to }: DeviceMove,
): Promise<void> {
  const { rows } = await sql<{ sha256: string }>`
    select distinct r.raw_sha256 as sha256 from revisions r
    where r.device_id = ${deviceId} and not exists (select from blobs b
      where b.site_id = ${to} and b.sha256 = r.raw_sha256 and b.orphaned_at is null)`.execute(db);
  for (const row of rows) {
    await copyBlob(db, { keyRing, from, to, sha256: Sha256.parse(row.sha256) });
  }
}
