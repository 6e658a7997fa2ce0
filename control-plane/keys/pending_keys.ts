/**
 * How key file and database change as one, although they are two. 1: the database *announces* the next keys; those in
 * force stay. 2: the file is replaced. 3: whoever holds the new file, the tool or any replica, puts the announced keys in
 * force, with all that follows from it. A crash after 1 leaves the old keys in force and nobody with the new ones; a crash
 * after 2 is ended by the next reader of the file. The other order, file first, would leave a file that no database knows.
 */
import { type Kysely, sql, type Transaction } from "kysely";
import { z } from "zod";
import { systemActor, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { insertTask } from "../tasks/store.ts";
import { TaskKind } from "@rookery/shared/api/tasks.ts";

/** The next keys, and what follows when they are in force. */
export const PendingKeys = z.strictObject({
  generation: z.int(),
  fingerprints: z.unknown(),
  audit: z.strictObject({ action: z.string(), detail: z.record(z.string(), z.unknown()) }),
  task: TaskKind.optional(),
});
export type PendingKeys = z.infer<typeof PendingKeys>;

export async function readPending(db: Kysely<Database>): Promise<PendingKeys | undefined> {
  const { rows: [row] } = await sql<{ pendingKeys: unknown }>`
    select pending_keys from installation where pending_keys is not null`.execute(db);
  return row && PendingKeys.parse(row.pendingKeys);
}

/** Step 1. Replaces what an interrupted rotation announced: its keys were never written to the file. */
export async function announceKeys(db: Kysely<Database>, pending: PendingKeys): Promise<void> {
  await sql`update installation set pending_keys = ${JSON.stringify(pending)}::text::jsonb`
    .execute(db);
}

/** Step 3. Of many who do it at once, one does it. */
export async function putInForce(db: Kysely<Database>, pending: PendingKeys): Promise<void> {
  await inTransaction(db, async (tx) => {
    if (!await movePending(tx, pending)) return;
    const actor = systemActor("keys:rotate");
    await writeAudit(tx, { actor, ...pending.audit });
    if (pending.task) await insertTask(tx, { kind: pending.task, requestedBy: actor.name });
  });
}

async function movePending(tx: Transaction<Database>, pending: PendingKeys): Promise<boolean> {
  const { rows } = await sql`
    update installation set pending_keys = null,
      key_generation = (pending_keys->>'generation')::integer,
      key_fingerprints = pending_keys->'fingerprints'
    where pending_keys = ${JSON.stringify(pending)}::text::jsonb
    returning id`.execute(tx);
  return rows.length > 0;
}
