import { type Kysely, sql } from "kysely";
import type { Database } from "../database/schema.ts";

/** What time it is: only the database's clock decides. Tests put another one in its place. */
export type ReadClock = (db: Kysely<Database>) => Promise<Temporal.Instant>;

/** The database's clock. */
export async function readClock(db: Kysely<Database>): Promise<Temporal.Instant> {
  const { rows: [row] } = await sql<{ now: Temporal.Instant }>`
    select clock_timestamp() as now`.execute(db);
  if (!row) throw new Error("Cannot read the database's clock: it answered nothing");
  return row.now;
}
