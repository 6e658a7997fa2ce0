import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { AuditHead } from "@rookery/shared/api/audit.ts";
import type { AuditSegmentsTable, Database } from "../database/schema.ts";
import type { AuditRowFound } from "./row_digests.ts";
import { digestOfSignature, type RowPlace, type SegmentStatement } from "./segment.ts";

export type SegmentRow = Selectable<AuditSegmentsTable>;

/** The newest segment; undefined when there is none. */
export async function selectTail(db: Kysely<Database>): Promise<SegmentRow | undefined> {
  return await db.selectFrom("auditSegments").selectAll().orderBy("number", "desc").limit(1)
    .executeTakeFirst();
}

/** Segments after a number, oldest first. */
export function selectSegments(
  db: Kysely<Database>,
  { after, limit }: { readonly after: number; readonly limit: number },
): Promise<SegmentRow[]> {
  return db.selectFrom("auditSegments").selectAll()
    .where("number", ">", String(after)).orderBy("number").limit(limit).execute();
}

/** The newest segment for people; undefined when nothing is sealed. */
export async function readHead(db: Kysely<Database>): Promise<AuditHead | undefined> {
  const tail = await selectTail(db);
  return tail && {
    number: Number(tail.number),
    sealedAt: tail.sealedAt.toString(),
    sha256: await digestOfSignature(tail.signature),
    signature: tail.signature,
  };
}

/** Stores a segment, unless another replica was faster with that number. */
export async function insertSegment(
  db: Kysely<Database>,
  { statement, signature, rowDigests }: {
    readonly statement: SegmentStatement;
    readonly signature: string;
    readonly rowDigests: Uint8Array;
  },
): Promise<boolean> {
  const { number, rowCount, last, newestAt, sealedAt } = statement;
  const { rows } = await sql`
    insert into audit_segments (number, row_count, last_incarnation, last_xid, last_id, newest_at,
      sealed_at, signature, row_digests)
    values (${number}, ${rowCount}, ${last.incarnation}, ${last.xid}::xid8, ${last.id}::uuid,
      ${newestAt}::timestamptz, ${sealedAt}::timestamptz, ${signature}, ${rowDigests})
    on conflict (number) do nothing returning number`.execute(db);
  return rows.length > 0;
}

/**
 * The rows after a place that no open transaction can put another row before (as `readOutbox` reads), and whether they have
 * waited for so long.
 */
export async function selectUnsealed(
  db: Kysely<Database>,
  { after, limit, waitSeconds }: {
    readonly after: RowPlace | undefined;
    readonly limit: number;
    readonly waitSeconds: number;
  },
): Promise<{ readonly rows: readonly AuditRowFound[]; readonly due: boolean; now: string }> {
  const { rows } = await sql<AuditRowFound & { due: boolean; now: Temporal.Instant }>`
    select r.*, bool_or(r.at <= now() - make_interval(secs => ${waitSeconds})) over () as due, now()
    from (
      select * from audit_rows
      where ${isAfter(after)} and (incarnation, xid) <
        (select current_incarnation(), pg_snapshot_xmin(pg_current_snapshot()))
      order by incarnation, xid, id limit ${limit}
    ) r order by r.incarnation, r.xid, r.id`.execute(db);
  const [first] = rows;
  return {
    rows: rows.map(({ due: _due, now: _now, ...row }) => row),
    due: first?.due ?? false,
    now: first?.now.toString() ?? "",
  };
}

/** The rows behind a place, up to another one. */
export async function selectBetween(
  db: Kysely<Database>,
  { after, until }: { readonly after: RowPlace | undefined; readonly until: RowPlace },
): Promise<readonly AuditRowFound[]> {
  const { rows } = await sql<AuditRowFound>`
    select * from audit_rows where ${isAfter(after)} and (incarnation, xid, id)
      <= (${until.incarnation}::int, ${until.xid}::xid8, ${until.id}::uuid)
    order by incarnation, xid, id`.execute(db);
  return rows;
}

/** How many rows there are behind a place, and since when. */
export async function countAfter(
  db: Kysely<Database>,
  after: RowPlace | undefined,
): Promise<{ readonly count: number; readonly oldestAt: string | null }> {
  const { rows: [row] } = await sql<{ count: number; oldestAt: Temporal.Instant | null }>`
    select count(*)::int as count, min(at) as oldest_at from audit_rows where ${isAfter(after)}`
    .execute(db);
  return { count: row?.count ?? 0, oldestAt: row?.oldestAt?.toString() ?? null };
}

/** Which of these rows are there, at whatever place. */
export async function selectPresent(
  db: Kysely<Database>,
  ids: readonly string[],
): Promise<ReadonlySet<string>> {
  if (ids.length === 0) return new Set();
  const rows = await db.selectFrom("auditRows").select("id").where("id", "in", ids).execute();
  return new Set(rows.map(({ id }) => id));
}

/** Deletes all rows up to a place; returns how many. */
export async function deleteUntil(tx: Transaction<Database>, until: RowPlace): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from audit_rows where (incarnation, xid, id)
      <= (${until.incarnation}::int, ${until.xid}::xid8, ${until.id}::uuid)`.execute(tx);
  return Number(numAffectedRows ?? 0);
}

/** The signed note of what retention dropped. */
export async function selectFloor(db: Kysely<Database>): Promise<string | undefined> {
  const row = await db.selectFrom("auditFloor").select("signature").executeTakeFirst();
  return row?.signature;
}

export async function writeFloor(tx: Transaction<Database>, signature: string): Promise<void> {
  await sql`
    insert into audit_floor (signature) values (${signature})
    on conflict (singleton) do update set signature = excluded.signature`.execute(tx);
}

function isAfter(after: RowPlace | undefined) {
  return after
    ? sql`(incarnation, xid, id)
        > (${after.incarnation}::int, ${after.xid}::xid8, ${after.id}::uuid)`
    : sql`true`;
}
