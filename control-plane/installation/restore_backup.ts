import { pipeline } from "node:stream/promises";
import type { TransactionSql } from "postgres";
import type { ConnectedDatabase } from "../database/connect.ts";
import { migrateAs } from "../database/migrate.ts";
import { newId } from "../database/new_id.ts";
import { reapLeases } from "../jobs/reap.ts";
import { ArchiveError, type ArchiveHead, ArchiveReader } from "./archive.ts";
import { tablesInOrder } from "./tables.ts";

type Tx = TransactionSql<Record<string, unknown>>;

export interface Restored {
  readonly head: ArchiveHead;
  readonly incarnation: number;
}

/**
 * Puts a backup into an empty database, in one transaction: it is there as a whole, with every digest checked, or not at all.
 * `check` may still refuse what was read. A new incarnation begins, which frees what agents held.
 */
export async function restoreBackup(
  { sql, db }: Pick<ConnectedDatabase, "sql" | "db">,
  path: string,
  { check }: { readonly check?: (fingerprints: unknown) => void } = {},
): Promise<Restored> {
  using file = await Deno.open(path, { read: true });
  const archive = new ArchiveReader(file.readable.pipeThrough(new DecompressionStream("gzip")));
  const head = await archive.readHead();
  const restored = await sql.begin(async (tx) => {
    await refuseUsed(tx);
    await migrateAs(tx, head.migrations);
    await fillTables(tx, archive);
    const [row] = await tx`select key_fingerprints from installation`;
    check?.(row?.["key_fingerprints"]);
    return { head, incarnation: await beginIncarnation(tx, head) };
  });
  // A control plane would do the same when it starts: nothing is lost by a crash before it.
  await reapLeases(db);
  await sql`analyze`;
  return restored;
}

async function refuseUsed(tx: Tx): Promise<void> {
  const [row] = await tx<{ tables: number }[]>`
    select count(*)::int as tables from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')`;
  if (row?.tables === 0) return;
  throw new Error(
    `Cannot restore: this database has ${row?.tables} tables, and only an empty one is filled. Name a new database in ` +
      "DATABASE_URL, or without it a folder that does not exist yet in ROOKERY_DATA",
  );
}

/** The tables are those that were backed up, or the migrations of the two differ. */
async function fillTables(tx: Tx, archive: ArchiveReader): Promise<void> {
  const tables = await tablesInOrder(tx);
  const names = tables.map(({ table }) => table);
  // What migrations put there is in the backup as well, perhaps changed or deleted since.
  await tx`truncate ${tx(names)}`;
  for (const name of names) await tx`alter table ${tx(name)} disable trigger user`;
  const filled: string[] = [];
  for (let next = await archive.nextTable(); next; next = await archive.nextTable()) {
    const { table, columns } = next;
    const known = tables.find((one) => one.table === table)?.columns;
    if (known?.join() !== columns.join()) {
      throw new ArchiveError(
        `Cannot use this backup: its table ${table} is none of its migrations'`,
      );
    }
    const into = await tx`copy ${tx(table)} (${tx(columns)}) from stdin`.writable();
    await pipeline(archive.rowsOf(next), into);
    filled.push(table);
  }
  if (filled.length < names.length) {
    throw new ArchiveError("Cannot use this backup: it lacks tables of its migrations");
  }
  for (const name of names) await tx`alter table ${tx(name)} enable trigger user`;
}

/**
 * A new life of the installation. Its number comes from the clock, because a backup may be restored twice, and neither life
 * may take the other's leases for its own. Sessions of agents are over, so each agent opens one anew and hears of it; offers
 * that nobody started go back by the next reap, without a failure. People log in again: a session or a link that was
 * revoked since must not come back.
 */
async function beginIncarnation(tx: Tx, head: ArchiveHead): Promise<number> {
  const [row] = await tx<{ incarnation: number }[]>`
    update installation set incarnation = greatest(incarnation + 1,
      extract(epoch from now() - timestamptz '2025-01-01')::int)
    returning incarnation`;
  const incarnation = row?.incarnation ?? 0;
  await tx`delete from agent_sessions`;
  await tx`update leases set running = false, offer_until = '2000-01-01'`;
  await tx`delete from sessions`;
  await tx`delete from setup_links`;
  const detail = { incarnation, backupOf: head.createdAt };
  await tx`
    insert into audit_rows (id, actor_kind, actor_name, action, detail) values (${newId<string>()},
      'system', 'restore', 'installation.restore', ${JSON.stringify(detail)}::text::jsonb)`;
  return incarnation;
}
