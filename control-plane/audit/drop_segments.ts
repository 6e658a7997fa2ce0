import { sql, type Transaction } from "kysely";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { inForce } from "../settings/in_force.ts";
import { checkSegment, type CheckServices, type Reached } from "./check_segment.ts";
import type { SealServices } from "./seal_rows.ts";
import { FLOOR_TYPE, FloorStatement, NOTHING, readStatement, signStatement } from "./segment.ts";
import { deleteUntil, type SegmentRow, selectFloor, writeFloor } from "./segment_store.ts";
import { systemActor, writeAudit } from "./store.ts";

/** Segments dropped in one transaction. */
const BATCH = 50;

/**
 * Drops the segments that are older than retention keeps, whole and from the first one on, and signs what they were: the
 * next one still follows something. What is not as it was sealed stays, as evidence. Returns how many rows it dropped.
 */
export async function dropOldSegments(services: SealServices): Promise<number> {
  let dropped = 0;
  for (;;) {
    const rows = await inTransaction(services.db, (tx) => dropBatch(tx, services));
    dropped += rows;
    if (rows === 0) return dropped;
  }
}

async function dropBatch(tx: Transaction<Database>, services: SealServices): Promise<number> {
  const { keyRing, issuer } = services;
  const old = await lockOld(tx);
  const [oldest] = old;
  if (!oldest) return 0;
  const check = { db: tx, keyRing, issuer };
  const floor = await readFloor(check);
  const { reached, newestAt, rowCount } = await sound(services, { check, old, floor });
  if (!reached.last || newestAt === undefined) return 0;
  await deleteUntil(tx, reached.last);
  await tx.deleteFrom("auditSegments").where("number", "<=", String(reached.number)).execute();
  const statement = FloorStatement.parse({
    iss: issuer,
    ...reached,
    droppedRows: (floor?.droppedRows ?? 0) + rowCount,
    newestAt,
    droppedAt: oldest.now.toString(),
  });
  await writeFloor(tx, await signStatement(keyRing, { type: FLOOR_TYPE, statement }));
  await writeAudit(tx, {
    actor: systemActor("retention"),
    action: "audit.expire",
    detail: { untilSegment: reached.number, rows: rowCount, newestAt },
  });
  return rowCount;
}

type OldSegment = SegmentRow & { readonly now: Temporal.Instant };

/** Another replica waits here, and then finds them gone. The newest segment stays: the next one is to follow it. */
async function lockOld(tx: Transaction<Database>): Promise<readonly OldSegment[]> {
  const { rows } = await sql<OldSegment>`
    select *, now() from audit_segments where newest_at < now() -
        make_interval(days => ${inForce("retention.audit_days")})
      and number < (select max(number) from audit_segments)
    order by number limit ${BATCH} for update`.execute(tx);
  return rows;
}

async function readFloor(check: CheckServices): Promise<FloorStatement | undefined> {
  const signature = await selectFloor(check.db);
  if (signature === undefined) return undefined;
  return await readStatement(check, { signature, type: FLOOR_TYPE, schema: FloorStatement });
}

/** How far the old segments are as they were sealed. */
async function sound(
  { log }: SealServices,
  { check, old, floor }: {
    readonly check: CheckServices;
    readonly old: readonly SegmentRow[];
    readonly floor: FloorStatement | undefined;
  },
) {
  let reached: Reached = floor ?? { number: 0, sha256: NOTHING, last: undefined };
  let newestAt: string | undefined;
  let rowCount = 0;
  for (const row of old) {
    const checked = await checkSegment(check, { row, reached });
    if (checked.found.length > 0) {
      const message = "Audit rows are not dropped: they are not as they were sealed";
      log({ level: "error", message, reason: checked.found[0] });
      break;
    }
    ({ reached, newestAt } = checked);
    rowCount += checked.rowCount;
  }
  const { number, sha256, last } = reached;
  return { reached: { number, sha256, last }, newestAt, rowCount };
}
