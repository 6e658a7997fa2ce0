import { type Kysely, sql } from "kysely";
import type { SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { END_BATCH, endWaiting } from "./end_waiting.ts";

/** Ends the jobs that have not begun by their deadline. Run with the upkeep of the queue; twice is as good as once. */
export async function endExpired(db: Kysely<Database>): Promise<number> {
  const { rows: sites } = await sql<{ siteId: SiteId }>`
    select distinct site_id from ready where expires_at <= now()`.execute(db);
  let ended = 0;
  for (const { siteId } of sites) {
    const doomed = sql`
      select job_id, 'not_begun_in_time' as code from ready
      where site_id = ${siteId} and expires_at <= now() limit ${END_BATCH}`;
    for (let more = END_BATCH; more === END_BATCH;) {
      more = await inTransaction(db, (tx) => endWaiting(tx, siteId, { doomed }));
      ended += more;
    }
  }
  return ended;
}
