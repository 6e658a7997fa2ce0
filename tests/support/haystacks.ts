/** Everything that an installation has written or says, as text in which no secret may be found. */
import { join } from "node:path";
import { ENDPOINTS } from "@rookery/shared/api/mod.ts";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
import { connectDatabase } from "../../control-plane/database/connect.ts";
import { findEmbeddedPostgres } from "../../control-plane/database/embedded.ts";
import type { CallApi } from "./installation.ts";

/** Where something was found, or could have been. */
export interface Haystack {
  readonly name: string;
  readonly text: string;
}

/** Every row of every table as text; bytes stand in it as hexadecimal digits. */
export async function dumpTables(dataFolder: string): Promise<Haystack[]> {
  const address = await findEmbeddedPostgres(dataFolder);
  if (!address) throw new Error("Cannot dump the database: it does not run");
  await using database = connectDatabase(address, { poolSize: 1, maxLifetimeSeconds: null });
  const { sql } = database;
  const tables = await sql<{ name: string }[]>`
    select quote_ident(tablename) as name from pg_tables where schemaname = 'public'`;
  const dumps: Haystack[] = [];
  for (const { name } of tables) {
    const rows = await sql.unsafe<{ row: string }[]>(`select t::text as row from ${name} t`);
    dumps.push({ name: `table ${name}`, text: rows.map(({ row }) => row).join("\n") });
  }
  return dumps;
}

/** Every file below a folder. */
export async function readFolder(
  folder: string,
  options: { except?: string } = {},
): Promise<Haystack[]> {
  const files: Haystack[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const path = join(folder, entry.name);
    if (entry.name === options.except) continue;
    if (entry.isDirectory) files.push(...await readFolder(path));
    else if (entry.isFile) files.push({ name: path, text: await Deno.readTextFile(path) });
  }
  return files;
}

/** What every GET endpoint answers whose path the given ids can fill. */
export async function readEverything(
  api: CallApi,
  ids: Readonly<Record<string, readonly string[]>>,
): Promise<Haystack[]> {
  const replies: Haystack[] = [];
  for (const { name, endpoint } of ENDPOINTS) {
    if (endpoint.method !== "GET" || endpoint.access === "agent") continue;
    for (const params of fillings(endpoint, ids)) {
      const reply = await api(endpoint as AnyEndpoint, { params, query: {} } as never)
        .catch((error: Error) => error.message);
      const text = typeof reply === "string" ? reply : JSON.stringify(await readFirst(reply));
      replies.push({ name: `reply of ${name}`, text: text ?? "" });
    }
  }
  return replies;
}

/** Of a stream its first event, after which it is left: what it would tell stands in the outbox, which is a table. */
async function readFirst(reply: unknown): Promise<unknown> {
  if (typeof reply !== "object" || !reply || !(Symbol.asyncIterator in reply)) return reply;
  for await (const event of reply as AsyncIterable<unknown>) return event;
  return undefined;
}

function fillings(endpoint: AnyEndpoint, ids: Readonly<Record<string, readonly string[]>>) {
  const names = [...endpoint.path.matchAll(/:(\w+)/g)].map((match) => match[1] ?? "");
  if (names.length === 0) return [undefined];
  const [name = ""] = names;
  return names.length > 1 ? [] : (ids[name] ?? []).map((id) => ({ [name]: id }));
}

/** Where a secret stands: as it is, in JSON, in base64 or in hexadecimal digits. */
export function findSecret(haystacks: readonly Haystack[], secret: string): string[] {
  const bytes = new TextEncoder().encode(secret);
  const needles = [secret, JSON.stringify(secret).slice(1, -1), bytes.toHex(), bytes.toBase64()];
  return haystacks.filter(({ text }) => needles.some((needle) => text.includes(needle)))
    .map(({ name }) => name);
}
