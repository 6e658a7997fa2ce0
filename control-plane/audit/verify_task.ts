/** The task `verify_audit`: holds the whole audit log against its sealed segments. Nothing is changed. */
import { sql } from "kysely";
import type { TaskWork } from "../tasks/kinds.ts";
import { CheckCursor, checkHistory } from "./check_history.ts";
import { readIssuer } from "./seal_rows.ts";

const BATCH_MS = 400;
/** Damage that is all over needs no list. */
const MOST_NAMED = 1_000;

export const verifyAudit: TaskWork = {
  async count(db) {
    const { rows: [row] } = await sql<{ count: string }>`
      select coalesce(sum(row_count), 0) as count from audit_segments`.execute(db);
    return Number(row?.count ?? 0);
  },
  async runBatch(tx, { keyRing }, options) {
    const cursor = CheckCursor.parse(options.cursor);
    const services = { db: tx, keyRing, issuer: await readIssuer(tx) };
    const until = performance.now() + BATCH_MS;
    const checked = await checkHistory(services, cursor, { until });
    const named = Math.max(0, MOST_NAMED - (cursor.at?.wrong ?? 0));
    const found = [...checked.found.slice(0, named), ...checked.notes];
    const done = checked.rows;
    if (checked.cursor) return { state: "more", cursor: checked.cursor, done, found };
    if (checked.wrong === 0) return { state: "completed", done, found };
    const error = `The audit log is not as it was sealed, at ${checked.wrong} places: see this ` +
      "task's log. Compare with a backup of the database, and with an export or head kept elsewhere.";
    return { state: "failed", done, error, found };
  },
};
