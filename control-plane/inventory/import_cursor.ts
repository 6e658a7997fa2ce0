import { z } from "zod";
import { type Kysely, sql, type Transaction } from "kysely";
import type { ImportOutcome } from "@rookery/shared/api/imports.ts";
import { ImportId, type SiteId } from "@rookery/shared/ids.ts";
import type { Actor } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { lockQueue } from "../jobs/lock_queue.ts";
import type { ImportRowRow } from "./import_store.ts";

/** Where the task of an import is: the row that it did last, and in whose name it works. */
export const ImportCursor = z.strictObject({
  importId: ImportId,
  at: z.int(),
  actor: z.strictObject({
    kind: z.enum(["user", "api_token", "agent", "system"]),
    id: z.string().nullable(),
    name: z.string(),
    address: z.string(),
    requestId: z.string(),
  }),
});
export type ImportCursor = z.infer<typeof ImportCursor> & { readonly actor: Actor };

/** How many rows there are to do. */
export async function countRows(
  db: Kysely<Database>,
  { importId }: ImportCursor,
  condition: "apply" | "undo",
): Promise<number> {
  const which = condition === "undo"
    ? sql`outcome = 'applied'`
    : sql`outcome is null and action in ('create', 'change')`;
  const { rows: [row] } = await sql<{ count: number }>`
    select count(*)::int as count from import_rows where import_id = ${importId} and ${which}`
    .execute(db);
  return row?.count ?? 0;
}

/** Holds the queues of the rows' sites still, always in one order. */
export async function lockQueues(
  tx: Transaction<Database>,
  rows: readonly Pick<ImportRowRow, "siteId">[],
): Promise<void> {
  const ids = new Set(rows.map(({ siteId }) => siteId).filter((id) => id !== null));
  for (const siteId of [...ids].sort()) await lockQueue(tx, siteId as SiteId);
}

export interface RowEnd {
  readonly number: number;
  readonly outcome: ImportOutcome;
  readonly detail: string | null;
}

/** Notes what became of rows. */
export async function noteOutcomes(
  tx: Transaction<Database>,
  importId: ImportId,
  ends: readonly RowEnd[],
): Promise<void> {
  await sql`
    update import_rows r set outcome = e.outcome, outcome_detail = e.detail
    from jsonb_to_recordset(${JSON.stringify(ends)}::text::jsonb)
      as e(number integer, outcome text, detail text)
    where r.import_id = ${importId} and r.number = e.number`.execute(tx);
}

/**
 * Runs what one row needs; what it changed is taken back when it throws, and the batch goes on. Returns the error.
 */
export async function tryRow(
  tx: Transaction<Database>,
  run: () => Promise<void>,
): Promise<unknown> {
  await sql`savepoint import_row`.execute(tx);
  try {
    await run();
    await sql`release savepoint import_row`.execute(tx);
    return undefined;
  } catch (error) {
    await sql`rollback to savepoint import_row`.execute(tx);
    return error;
  }
}
