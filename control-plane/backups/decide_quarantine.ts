import { sql, type Transaction } from "kysely";
import type { RevisionId, UserId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { lockDeviceStatus, verifyAccepted } from "./device_status.ts";
import { makeCurrent } from "./record_capture.ts";
import { findCurrent } from "./revision_queries.ts";
import type { RevisionRow } from "./store.ts";

/** What somebody decided about a quarantined revision. */
export interface Decision {
  readonly decision: "accept" | "reject";
  readonly decidedBy: UserId;
  readonly revision: RevisionRow;
  /** Its redacted text, made before the transaction: it may become the current one. Null when it is rejected. */
  readonly text: string | null;
}

/**
 * Accepts a quarantined revision as the baseline, or rejects it. A rejected one may still be accepted. It becomes
 * current only if the device was not seen with another one since.
 */
export async function decideRevision(tx: Transaction<Database>, made: Decision): Promise<void> {
  const { revision: { id, siteId, deviceId, capture, platform }, decision, text } = made;
  await lockDeviceStatus(tx, { deviceId });
  const lastSeenAt = await markDecided(tx, made);
  if (decision === "reject" || text === null) return;
  const current = await findCurrent(tx, { deviceId, capture });
  if (current && Temporal.Instant.compare(current.lastSeenAt, lastSeenAt) > 0) return;
  await makeCurrent(tx, { siteId, deviceId, capture, platform, id, text });
  await verifyAccepted(tx, { deviceId, platform, at: lastSeenAt });
}

async function markDecided(
  tx: Transaction<Database>,
  { revision: { id }, decision, decidedBy }: Decision,
): Promise<Temporal.Instant> {
  const from = decision === "accept"
    ? ["quarantined", "rejected"] as const
    : ["quarantined"] as const;
  const row = await tx.updateTable("revisions")
    .set({
      state: decision === "accept" ? "accepted" : "rejected",
      decidedAt: sql`clock_timestamp()`,
      decidedBy,
    })
    .where("id", "=", id).where("state", "in", from)
    .returning("lastSeenAt").executeTakeFirst();
  if (!row) throw notWaiting(id);
  return row.lastSeenAt;
}

function notWaiting(id: RevisionId): ProblemError {
  return new ProblemError("conflict", `Revision ${id} does not wait for this decision any more.`);
}
