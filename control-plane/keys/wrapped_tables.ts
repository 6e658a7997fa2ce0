import { type Kysely, type RawBuilder, sql } from "kysely";
import type { Database } from "../database/schema.ts";

/** A table with envelopes (`kek_id`, `wrapped_key`), and the columns of its primary key with their types. */
export interface WrappedTable {
  readonly name: string;
  readonly key: readonly (readonly [column: string, type: "uuid" | "integer" | "text"])[];
}

/** Every table that holds wrapped data keys; a test compares them with the catalogue. */
export const WRAPPED_TABLES: readonly WrappedTable[] = [
  { name: "credential_versions", key: [["credential_id", "uuid"], ["version", "integer"]] },
  { name: "blobs", key: [["site_id", "uuid"], ["sha256", "text"]] },
  {
    name: "upload_parts",
    key: [["lease_id", "uuid"], ["sha256", "text"], ["upload_id", "text"], ["start_at", "integer"]],
  },
  { name: "totp_factors", key: [["user_id", "uuid"]] },
  { name: "oidc_clients", key: [["issuer", "text"], ["client_id", "text"]] },
  { name: "import_secrets", key: [["import_id", "uuid"], ["credential_id", "uuid"]] },
];

/** Whether anything at all is still wrapped by a key-encryption key of this id. */
export async function wrapsAnything(db: Kysely<Database>, kekId: string): Promise<boolean> {
  return await someRow(db, sql`kek_id = ${kekId}`);
}

/** Whether anything is wrapped by another key-encryption key than this one. */
export async function othersWrap(db: Kysely<Database>, kekId: string): Promise<boolean> {
  return await someRow(db, sql`(kek_id < ${kekId} or kek_id > ${kekId})`);
}

/** How many data keys are wrapped by other key-encryption keys than this one. */
export async function countOthers(db: Kysely<Database>, kekId: string): Promise<number> {
  let count = 0;
  for (const { name } of WRAPPED_TABLES) {
    const { rows: [row] } = await sql<{ n: string }>`
      select count(*) as n from ${sql.table(name)} where kek_id <> ${kekId}`.execute(db);
    count += Number(row?.n ?? 0);
  }
  return count;
}

/** The ids of all key-encryption keys that wrap something. */
export async function idsInUse(db: Kysely<Database>): Promise<readonly string[]> {
  const ids = new Set<string>();
  for (const { name } of WRAPPED_TABLES) {
    const { rows } = await sql<{ kekId: string }>`
      select distinct kek_id from ${sql.table(name)}`.execute(db);
    for (const { kekId } of rows) ids.add(kekId);
  }
  return [...ids];
}

async function someRow(db: Kysely<Database>, condition: RawBuilder<unknown>): Promise<boolean> {
  for (const { name } of WRAPPED_TABLES) {
    const { rows } = await sql`select 1 from ${sql.table(name)} where ${condition} limit 1`
      .execute(db);
    if (rows.length > 0) return true;
  }
  return false;
}
