/** The task `undo_import`: takes back what an import did, last row first, and keeps what somebody has touched since. */
import { sql, type Transaction } from "kysely";
import { ImportedFields } from "@rookery/shared/api/imports.ts";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { writeAudits } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import type { TaskWork } from "../tasks/kinds.ts";
import { changeDevice, readForChange, refuseChanged } from "./change_device.ts";
import {
  countRows,
  ImportCursor,
  lockQueues,
  noteOutcomes,
  type RowEnd,
  tryRow,
} from "./import_cursor.ts";
import type { ImportRowRow } from "./import_store.ts";
import { dropCredentials } from "./seal_logins.ts";

const BATCH = 50;

export const undoImport: TaskWork = {
  count: (db, _context, { cursor }) => countRows(db, ImportCursor.parse(cursor), "undo"),
  async runBatch(tx, _context, options) {
    const cursor = ImportCursor.parse(options.cursor);
    const { importId, actor } = cursor;
    const rows = await tx.selectFrom("importRows").selectAll().where("importId", "=", importId)
      .where("outcome", "=", "applied").orderBy("number", "desc").limit(BATCH).execute();
    if (rows.length === 0) {
      await dropCredentials(tx, { importId, actor });
      return { state: "completed", done: 0 };
    }
    await lockQueues(tx, rows);
    const ends: RowEnd[] = [];
    for (const row of rows) ends.push(await undoRow(tx, row));
    await noteOutcomes(tx, importId, ends);
    const undone = rows.filter((_, index) => ends[index]?.outcome === "undone");
    await writeAudits(
      tx,
      undone.map(({ action, siteId, deviceId, before, after }) => ({
        actor,
        action: action === "create" ? "device.delete" : "device.update",
        target: { kind: "device", id: String(deviceId) },
        siteId,
        detail: { before: after, after: before, importId },
      })),
    );
    return { state: "more", cursor, done: rows.length };
  },
};

async function undoRow(tx: Transaction<Database>, row: ImportRowRow): Promise<RowEnd> {
  const { number, action } = row;
  const device = { siteId: row.siteId as SiteId, deviceId: row.deviceId as DeviceId };
  const [before, after] = [ImportedFields.parse(row.before), ImportedFields.parse(row.after)];
  const error = await tryRow(
    tx,
    () =>
      action === "create"
        ? deleteUntouched(tx, { ...device, made: after })
        : changeDevice(tx, { ...device, expected: after, change: before }),
  );
  if (error === undefined) return { number, outcome: "undone", detail: null };
  if (!(error instanceof ProblemError)) throw error;
  return { number, outcome: "kept", detail: error.message };
}

/** Deletes a device that is as it was made and never had a job. Its site's queue is locked: none comes meanwhile. */
async function deleteUntouched(
  tx: Transaction<Database>,
  { siteId, deviceId, made }: { siteId: SiteId; deviceId: DeviceId; made: ImportedFields },
): Promise<void> {
  const device = await readForChange(tx, { siteId, deviceId });
  refuseChanged(device, made);
  if (!device.isUntouched) {
    throw new ProblemError("conflict", "the device was changed by somebody else since");
  }
  const { rows: jobs } = await sql`
    select 1 from jobs where site_id = ${siteId} and device_id = ${deviceId} limit 1`.execute(tx);
  if (jobs.length > 0) {
    throw new ProblemError("in-use", "the device has had jobs since: archive it instead");
  }
  await refuseDuplicates({}, async () => {
    await tx.deleteFrom("devices").where("id", "=", deviceId).execute();
  });
}
