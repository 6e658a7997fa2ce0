/** How many statements the database was asked, and what asking one costs the asker. */
import type { Kysely } from "kysely";
import type { DatabaseAddress } from "../../../control-plane/database/connect.ts";
import type { Database } from "../../../control-plane/database/schema.ts";
import { onServer } from "../../support/test_server.ts";
import { cpuMs } from "./crypto_costs.ts";

/** Settings of PostgreSQL that make it count. */
export const COUNTING = { shared_preload_libraries: "pg_stat_statements" } as const;

export interface StatementShare {
  readonly calls: number;
  readonly text: string;
}

/** Starts the count anew. */
export async function resetStatements(address: DatabaseAddress): Promise<void> {
  await onServer(address, async (sql) => {
    await sql`create extension if not exists pg_stat_statements`;
    await sql`select pg_stat_statements_reset()`;
  });
}

/** All statements since the reset, begin and commit included, the commonest first. */
export async function readStatements(address: DatabaseAddress): Promise<readonly StatementShare[]> {
  return await onServer(address, (sql) =>
    sql<StatementShare[]>`
      select sum(calls)::int as calls, left(regexp_replace(query, '\\s+', ' ', 'g'), 70) as text
      from pg_stat_statements where query not like '%pg_stat%' group by 2 order by 1 desc`);
}

/** CPU of one small statement on the side of who asks: building, sending, reading the answer. */
export async function measureStatement(db: Kysely<Database>, times: number): Promise<number> {
  return await cpuMs(times, () =>
    db.selectFrom("agentSessions").select(["capacity", "ttlSeconds"])
      .where("agentId", "=", "00000000-0000-4000-8000-000000000001" as never).execute());
}
