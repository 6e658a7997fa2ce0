/** The database as it is at the end, as JSON lines; and a search through all of it, and all histories, for secrets. */
import { join } from "node:path";
import {
  connectDatabase,
  type DatabaseAddress,
  type Sql,
} from "../../control-plane/database/connect.ts";
import { openTeller, type SecretLine } from "./history.ts";

/** What is exported; a table that there is not (yet) is left out. */
const TABLES = [
  ...["jobs", "open_jobs", "ready", "leases", "grants", "done", "attempts", "occurrences"],
  ...["sites", "devices", "agents", "agent_sites", "agent_sessions", "backups", "policies"],
  ...["secret_deliveries", "audit_rows"],
];
/** Nothing that a reader of histories needs, and long. */
const LEFT_OUT = ["sign_jwk", "seal_jwk", "captures", "algorithms", "report"];

export async function exportTables(address: DatabaseAddress, folder: string): Promise<void> {
  await Deno.mkdir(join(folder, "tables"), { recursive: true });
  await using database = connectDatabase(address, { poolSize: 1 });
  const { sql } = database;
  const there = await tablesOf(sql);
  for (const table of TABLES.filter((name) => there.includes(name))) {
    const rows = await sql<{ row: Record<string, unknown> }[]>`
      select to_jsonb(t) - ${LEFT_OUT}::text[] as row from ${sql(table)} t`;
    const text = rows.map(({ row }) => `${JSON.stringify(row)}\n`).join("");
    await Deno.writeTextFile(join(folder, "tables", `${table}.jsonl`), text);
  }
}

/** Looks for each secret in every column of every table, in every history, and in what agents have on disk. */
export async function searchSecrets(
  address: DatabaseAddress,
  { histories, stateFolders, secrets }: {
    readonly histories: string;
    readonly stateFolders: readonly string[];
    readonly secrets: readonly string[];
  },
): Promise<void> {
  using history = openTeller<SecretLine>(histories, "secrets.jsonl");
  const tell = (where: string, secret: string) =>
    history.tell({ where, secret: `${secret.slice(0, 3)}…` });
  await using database = connectDatabase(address, { poolSize: 1 });
  for (const table of await tablesOf(database.sql)) {
    for (const secret of await secretsIn(database.sql, table, secrets)) tell(table, secret);
  }
  for (const folder of [histories, ...stateFolders.map((folder) => join(folder, "spool"))]) {
    for await (const path of filesOf(folder)) {
      const text = new TextDecoder("latin1").decode(await Deno.readFile(path));
      for (const secret of secrets) if (text.includes(secret)) tell(path, secret);
    }
  }
}

async function secretsIn(sql: Sql, table: string, secrets: readonly string[]): Promise<string[]> {
  const rows = await sql<{ secret: string }[]>`
    with texts as (select t::text as text from ${sql(table)} t)
    select s.secret from unnest(${[...secrets]}::text[]) as s(secret)
    where exists (select 1 from texts where position(s.secret in texts.text) > 0)`;
  return rows.map(({ secret }) => secret);
}

async function tablesOf(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition
    order by 1`;
  return rows.map(({ name }) => name);
}

async function* filesOf(folder: string): AsyncGenerator<string> {
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (isFile) yield join(folder, name);
  }
}
