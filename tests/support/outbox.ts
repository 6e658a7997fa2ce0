import type { Sql } from "../../control-plane/database/connect.ts";
import { until } from "./agent_bench.ts";

/**
 * Waits until readers may be shown all that has happened: a transaction of any database of the server, such as that of
 * another test file, holds it back, and a stream that begins meanwhile is told it after its hello.
 */
export async function untilShown(sql: Sql): Promise<void> {
  await until(async () => {
    const hidden = await sql`
      select 1 from outbox where xid >= pg_snapshot_xmin(pg_current_snapshot()) limit 1`;
    return hidden.length === 0;
  }, "all changes can be shown");
}
