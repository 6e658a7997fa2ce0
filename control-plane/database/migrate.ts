import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TransactionSql } from "postgres";
import type { Sql } from "./connect.ts";
import { reasonOf } from "./data_folder.ts";

/** What to apply. */
export interface MigrateOptions {
  /** The folder of the SQL files. Default: `migrations/` of this repository. */
  readonly folder?: string;
  readonly signal?: AbortSignal;
}

/** One SQL file. Its name is what the database remembers. */
interface Migration {
  readonly number: number;
  readonly name: string;
  readonly text: string;
  readonly sha256: string;
}

interface AppliedRow {
  readonly name: string;
  readonly sha256: string;
}

/** The letters of "rookery" as a number: any does, but every Rookery must take the same. */
const LOCK = "32210671678878329";
const FOLDER = fileURLToPath(new URL("../../migrations", import.meta.url));
const FILE_NAME = /^(\d{4})_[a-z0-9_]+\.sql$/;

/**
 * Applies the migrations that the database has not seen, in order: one transaction and one row per file, under a lock, so
 * any number of replicas may do it at once. Forward only. Returns the names of the files it applied.
 */
export async function migrate(
  sql: Sql,
  options: MigrateOptions = {},
): Promise<readonly string[]> {
  const migrations = await readMigrations(options.folder ?? FOLDER);
  const applied: string[] = [];
  for (const migration of migrations) {
    options.signal?.throwIfAborted();
    if (await sql.begin((tx) => applyOnce(tx, { migration, migrations }))) {
      applied.push(migration.name);
    }
  }
  return applied;
}

/**
 * Brings an empty database to where another one was, whose migrations `history` names, within one transaction: for whoever
 * then fills it with what the other one held.
 */
export async function migrateAs(
  tx: TransactionSql<Record<string, unknown>>,
  history: readonly AppliedRow[],
): Promise<void> {
  const migrations = await readMigrations(FOLDER);
  checkHistory(history, migrations);
  for (const migration of migrations.slice(0, history.length)) {
    await applyOnce(tx, { migration, migrations });
  }
}

/** Reads and checks the files of a folder: numbered 0001, 0002 and so on without a gap or a double. */
async function readMigrations(folder: string): Promise<readonly Migration[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    if (entry.isFile && entry.name.endsWith(".sql")) names.push(entry.name);
  }
  const migrations = await Promise.all(names.sort().map((name) => readMigration(folder, name)));
  for (const [index, { name, number }] of migrations.entries()) {
    if (number === index + 1) continue;
    const expected = String(index + 1).padStart(4, "0");
    throw new Error(`Cannot read the migrations: ${name} stands where number ${expected} should`);
  }
  return migrations;
}

async function readMigration(folder: string, name: string): Promise<Migration> {
  const number = Number(FILE_NAME.exec(name)?.[1]);
  if (Number.isNaN(number)) {
    throw new Error(`Cannot read the migrations: ${name} is not named like 0001_create_users.sql`);
  }
  const text = await Deno.readTextFile(join(folder, name));
  return { number, name, text, sha256: createHash("sha256").update(text).digest("hex") };
}

/** Applies one file, unless another process was faster. Returns whether it did. */
async function applyOnce(
  tx: TransactionSql<Record<string, unknown>>,
  { migration, migrations }: {
    readonly migration: Migration;
    readonly migrations: readonly Migration[];
  },
): Promise<boolean> {
  await tx`select pg_advisory_xact_lock(${LOCK}::bigint)`;
  const rows = await appliedRows(tx);
  checkHistory(rows, migrations);
  if (rows.length >= migration.number) return false;
  try {
    await tx.unsafe(migration.text).simple();
  } catch (cause) {
    throw new Error(`Cannot apply ${migration.name}: ${reasonOf(cause)}`, { cause });
  }
  await tx`insert into migrations (number, name, sha256)
    values (${migration.number}, ${migration.name}, ${migration.sha256})`;
  return true;
}

async function appliedRows(
  tx: TransactionSql<Record<string, unknown>>,
): Promise<readonly AppliedRow[]> {
  await tx`create table if not exists migrations (
    number integer primary key, name text not null, sha256 text not null,
    applied_at timestamptz not null default now())`;
  return await tx<AppliedRow[]>`select name, sha256 from migrations order by number`;
}

/** Throws unless the applied files are a beginning of `migrations`, unchanged. */
function checkHistory(rows: readonly AppliedRow[], migrations: readonly Migration[]): void {
  for (const [index, row] of rows.entries()) {
    const migration = migrations[index];
    if (!migration) {
      throw new Error(
        `Cannot use this database: it is newer than this Rookery (it has ${row.name}, which this version does not know). ` +
          "Start the newer version",
      );
    }
    if (migration.name !== row.name) {
      throw new Error(
        `Cannot migrate: the database has applied ${row.name}, and this Rookery has ${migration.name} in its place`,
      );
    }
    if (migration.sha256 !== row.sha256) {
      throw new Error(
        `Cannot migrate: ${row.name} was changed after it had been applied; restore it and put the change in a new file`,
      );
    }
  }
}
