import { type Kysely, sql } from "kysely";
import type { SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import type { Position } from "./position.ts";

export type OutboxNoun = "job" | "task";

/** What happened to one or more jobs, or tasks, in one statement. */
export interface OutboxRow {
  readonly position: Position;
  readonly at: Temporal.Instant;
  readonly noun: OutboxNoun;
  readonly change: string;
  readonly siteId: SiteId | null;
  readonly ids: readonly string[];
  /** Of jobs: their devices, in the same order. */
  readonly deviceIds: readonly string[];
  readonly detail: Readonly<Record<string, unknown>>;
}

export interface OutboxPage {
  readonly rows: readonly OutboxRow[];
  /** Everything before it was read. */
  readonly until: Position;
  /** What lies before it may have been deleted. */
  readonly floor: Position;
}

/** Behind every row that a transaction can have. */
const LAST_ID = 2n ** 62n;

interface FoundRow {
  readonly edge: string;
  readonly floor: string;
  readonly xid: string | null;
  readonly id: string;
  readonly at: Temporal.Instant;
  readonly noun: OutboxNoun;
  readonly change: string;
  readonly siteId: SiteId | null;
  readonly ids: string[];
  readonly deviceIds: string[] | null;
  readonly detail: Record<string, unknown> | null;
}

/**
 * The rows from a place on, in the order of (transaction, row), and none of a transaction that is younger than one still
 * open: that one may yet commit rows which stand before them (DESIGN, section 4). Without `from`, only the place where the
 * next ones will stand.
 */
export async function readOutbox(
  db: Kysely<Database>,
  { from, limit }: { readonly from: Position | undefined; readonly limit: number },
): Promise<OutboxPage> {
  const { rows } = await sql<FoundRow>`
    with edge as (select pg_snapshot_xmin(pg_current_snapshot()) as xid)
    select e.xid::text as edge, f.xid::text as floor, o.xid::text as xid, o.id, o.at, o.noun,
      o.change, o.site_id, o.ids, o.device_ids, o.detail
    from edge e cross join outbox_floor f left join lateral (
      select * from outbox
      where (xid, id) >= (${String(from?.xid ?? 0)}::xid8, ${String(from?.id ?? 0)}::bigint)
        and xid < e.xid
      order by xid, id limit ${from ? limit : 0}
    ) o on true order by o.xid, o.id`.execute(db);
  const [first] = rows;
  if (!first) throw new Error("Cannot read the outbox: its floor is missing");
  const found = rows.flatMap((row) => row.xid === null ? [] : [rowOf(row, row.xid)]);
  const last = found.at(-1);
  return {
    rows: found,
    until: last && found.length === limit ? endOf(last) : startOf(first.edge),
    floor: { xid: BigInt(first.floor), id: LAST_ID, taken: 0 },
  };
}

function rowOf(row: FoundRow, xid: string): OutboxRow {
  const { at, noun, change, siteId, ids } = row;
  return {
    ...{ at, noun, change, siteId, ids },
    position: { xid: BigInt(xid), id: BigInt(row.id), taken: 0 },
    deviceIds: row.deviceIds ?? [],
    detail: row.detail ?? {},
  };
}

/** Before every row of a transaction. */
function startOf(xid: string): Position {
  return { xid: BigInt(xid), id: 0n, taken: 0 };
}

export function endOf({ position, ids }: OutboxRow): Position {
  return { ...position, taken: ids.length };
}
