import { type Kysely, sql } from "kysely";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { inForce } from "../settings/in_force.ts";

const BATCH = 10_000;

/**
 * Deletes what no reader goes back to, a batch at a time, and notes how far. Twice is as good as once. What no reader could be
 * shown yet stays, however old (`readOutbox`): the floor never stands before the place where the next ones begin.
 */
export async function trimOutbox(
  db: Kysely<Database>,
  { keptHours }: { readonly keptHours?: number } = {},
): Promise<void> {
  // Readers that were away for longer read anew what they show.
  const hours = keptHours === undefined
    ? inForce("retention.events_hours")
    : sql`${keptHours}::int`;
  for (let deleted = BATCH; deleted === BATCH;) {
    deleted = await inTransaction(db, async (tx) => {
      const { rows: [trimmed] } = await sql<{ count: number }>`
        with old as (
          select xid, id, at from outbox where xid < pg_snapshot_xmin(pg_current_snapshot())
          order by xid, id limit ${BATCH}
        ), gone as (
          delete from outbox o using old where o.xid = old.xid and o.id = old.id
            and old.at < now() - make_interval(hours => ${hours})
          returning o.xid
        ), noted as (
          update outbox_floor f set xid = greatest(f.xid, g.xid)
          from (select max(xid) as xid from gone) g where g.xid is not null
        )
        select count(*)::int as count from gone`.execute(tx);
      return trimmed?.count ?? 0;
    });
  }
}
