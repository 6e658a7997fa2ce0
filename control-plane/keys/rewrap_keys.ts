/**
 * The task `rewrap_keys`: every data key is unwrapped and wrapped again by the current key-encryption key. Contents are not
 * touched, and reads go on: both keys are in the key file until the old one is retired.
 */
import { type Kysely, sql, type Transaction } from "kysely";
import { z } from "zod";
import type { Database } from "../database/schema.ts";
import type { Batch, TaskContext, TaskWork } from "../tasks/kinds.ts";
import { rewrapKey, SealError, type WrappedKey } from "./envelope.ts";
import { assertNewestKeys } from "./newest_keys.ts";
import { countOthers, othersWrap, WRAPPED_TABLES, type WrappedTable } from "./wrapped_tables.ts";

const CHUNK_ROWS = 200;
/** With the last chunk on top, a batch stays below a second. */
const BATCH_MS = 400;

/** Which table, from which key on, and how many rows could not be opened so far. */
const Cursor = z.strictObject({
  table: z.int().min(0),
  after: z.array(z.string()).nullable(),
  broken: z.int().min(0),
});
type Cursor = z.infer<typeof Cursor>;

const START: Cursor = { table: 0, after: null, broken: 0 };

export const rewrapKeys: TaskWork = {
  async count(db, context) {
    await assertNewestKeys(db, context);
    return await countOthers(db, context.keyRing.currentKekId);
  },
  async runBatch(tx, context, options) {
    // To the old keys there is nothing to do, and all is done.
    await assertNewestKeys(tx, context);
    const until = performance.now() + BATCH_MS;
    let cursor = options.cursor === null ? START : Cursor.parse(options.cursor);
    let done = 0;
    do {
      const table = WRAPPED_TABLES[cursor.table];
      if (!table) return await finish(tx, context, { cursor, done });
      const chunk = await rewrapChunk(tx, context, { table, after: cursor.after });
      done += chunk.done;
      const broken = cursor.broken + chunk.broken;
      cursor = chunk.last
        ? { table: cursor.table, after: chunk.last, broken }
        : { table: cursor.table + 1, after: null, broken };
    } while (performance.now() < until);
    return { state: "more", cursor, done };
  },
};

/** A replica that had not read the new key file may have wrapped something behind the cursor: then once more. */
async function finish(
  tx: Transaction<Database>,
  { keyRing }: TaskContext,
  { cursor: { broken }, done }: { cursor: Cursor; done: number },
): Promise<Batch> {
  if (broken > 0) {
    const error =
      `${broken} wrapped keys cannot be opened: they are altered, or the key file lacks their ` +
      "key-encryption key. The rest is wrapped anew.";
    return { state: "failed", done, error };
  }
  return await othersWrap(tx, keyRing.currentKekId)
    ? { state: "more", cursor: START, done }
    : { state: "completed", done };
}

interface Row extends WrappedKey {
  readonly key: string[];
}

async function rewrapChunk(
  tx: Transaction<Database>,
  { keyRing }: TaskContext,
  { table, after }: { table: WrappedTable; after: readonly string[] | null },
): Promise<{ readonly last?: string[]; readonly done: number; readonly broken: number }> {
  const rows = await readChunk(tx, { table, after });
  const last = rows.at(-1)?.key;
  if (!last) return { done: 0, broken: 0 };
  const old = rows.filter((row) => row.kekId !== keyRing.currentKekId);
  const fresh = await Promise.all(
    old.map((row) => rewrapKey(keyRing, row).catch(undefinedIfBroken)),
  );
  const changes = old.flatMap((row, at) => {
    const next = fresh[at];
    return next ? [{ key: row.key, from: hex(row.wrappedKey), to: hex(next.wrappedKey) }] : [];
  });
  const done = await writeChunk(tx, { table, changes, kekId: keyRing.currentKekId });
  return { last, done, broken: old.length - changes.length };
}

function undefinedIfBroken(error: unknown): undefined {
  if (!(error instanceof SealError)) throw error;
}

async function readChunk(
  db: Kysely<Database>,
  { table: { name, key }, after }: { table: WrappedTable; after: readonly string[] | null },
): Promise<readonly Row[]> {
  const columns = sql.join(key.map(([column]) => sql.ref(column)));
  const texts = sql.join(key.map(([column]) => sql`${sql.ref(column)}::text`));
  const position = after &&
    sql.join(key.map(([, type], at) => sql`${after[at] ?? ""}::text::${sql.raw(type)}`));
  const { rows } = await sql<Row>`
    select array[${texts}] as key, kek_id, wrapped_key from ${sql.table(name)}
    where ${position ? sql`(${columns}) > (${position})` : sql`true`}
    order by ${columns} limit ${CHUNK_ROWS}`.execute(db);
  return rows;
}

interface Change {
  readonly key: readonly string[];
  readonly from: string;
  readonly to: string;
}

/** Only what still is as it was read: a row that was written meanwhile has the current key already. */
async function writeChunk(
  tx: Transaction<Database>,
  { table: { name, key }, changes, kekId }: {
    table: WrappedTable;
    changes: readonly Change[];
    kekId: string;
  },
): Promise<number> {
  if (changes.length === 0) return 0;
  const same = key.map(([column, type], at) =>
    sql`t.${sql.ref(column)} = (c->'key'->>${sql.lit(at)}::int)::${sql.raw(type)}`
  );
  const { numAffectedRows } = await sql`
    update ${sql.table(name)} t set kek_id = ${kekId}, wrapped_key = decode(c->>'to', 'hex')
    from jsonb_array_elements(${JSON.stringify(changes)}::text::jsonb) c
    where ${sql.join(same, sql` and `)} and t.wrapped_key = decode(c->>'from', 'hex')`.execute(tx);
  return Number(numAffectedRows ?? 0n);
}

function hex(bytes: Uint8Array): string {
  return Uint8Array.from(bytes).toHex();
}
