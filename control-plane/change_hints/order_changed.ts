import type { Kysely, Transaction } from "kysely";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { enqueueJobs } from "../jobs/enqueue.ts";
import { lockQueue } from "../jobs/lock_queue.ts";
import {
  dropHints,
  lockDueHints,
  moveHintsToJobs,
  postponeHints,
  sitesWithDueHints,
} from "./store.ts";

/** So many devices in one transaction, which holds the queue of their site. */
const BATCH = 500;
/** A full queue is asked again after this. */
const FULL_SECONDS = 60;
/** A backup that runs is looked at again after this. */
const RUNNING_SECONDS = 5;
/**
 * Before what a schedule made due in the last hours, so that the change is filed while it is news; after what a person wants
 * now, whom no flood of messages may keep waiting.
 */
const PRIORITY = 20;

/**
 * Orders the backups of devices that were said to have changed and are quiet now. Every replica does, without a leader: a hint
 * is deleted in the transaction that orders its backup, under the lock of its site, so that it is ordered once.
 */
export async function orderChanged(db: Kysely<Database>): Promise<number> {
  let ordered = 0;
  for (const siteId of await sitesWithDueHints(db)) ordered += await orderAtSite(db, siteId);
  return ordered;
}

async function orderAtSite(db: Kysely<Database>, siteId: SiteId): Promise<number> {
  try {
    return await inTransaction(db, (tx) => orderBatch(tx, siteId));
  } catch (error) {
    if (!(error instanceof ProblemError) || error.type !== "queue-full") throw error;
    // Nothing is lost: the hints stay until there is room.
    await postponeHints(db, { siteId, seconds: FULL_SECONDS });
    return 0;
  }
}

async function orderBatch(tx: Transaction<Database>, siteId: SiteId): Promise<number> {
  await lockQueue(tx, siteId);
  const due = await lockDueHints(tx, { siteId, limit: BATCH });
  const archived = due.filter(({ isArchived }) => isArchived).map(({ deviceId }) => deviceId);
  if (archived.length > 0) await dropHints(tx, { siteId, deviceIds: archived });
  const inUse = due.filter(({ isArchived }) => !isArchived);
  const running = inUse.filter(({ isRunning }) => isRunning).map(({ deviceId }) => deviceId);
  if (running.length > 0) {
    // It began before the last change and may have read what was there before: another has to follow.
    await postponeHints(tx, { siteId, seconds: RUNNING_SECONDS, deviceIds: running });
  }
  const deviceIds = inUse.filter(({ isRunning }) => !isRunning).map(({ deviceId }) => deviceId);
  if (deviceIds.length > 0) await orderBackups(tx, { siteId, deviceIds });
  return deviceIds.length;
}

async function orderBackups(
  tx: Transaction<Database>,
  { siteId, deviceIds }: { readonly siteId: SiteId; readonly deviceIds: readonly DeviceId[] },
): Promise<void> {
  const jobs = await enqueueJobs(tx, {
    ...{ siteId, deviceIds },
    kind: "backup_config",
    payload: { captures: [] },
    urgency: "normal",
    priority: PRIORITY,
  });
  await moveHintsToJobs(tx, { siteId, jobs });
}
