/**
 * The task `apply_retention`: device by device it deletes the revisions that nothing keeps, by the limits that were in
 * force when it was ordered, and then the contents that nothing has referred to for a week.
 */
import { sql, type Transaction } from "kysely";
import { z } from "zod";
import { DeviceId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import { systemActor, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { EVERYTHING } from "../http/caller.ts";
import type { TaskWork } from "../tasks/kinds.ts";
import type { BlobName } from "./blob_seal.ts";
import { deleteOld, type GoneRevision, readDevices } from "./old_revisions.ts";
import { sweepBlobs } from "./orphaned_blobs.ts";

const DEVICES = 50;
const BLOBS = 500;
/** With the last chunk on top, a batch stays below a second: results of its devices wait for it. */
const BATCH_MS = 300;

/** By which limits, ordered by whom, how far it has come, and what is gone so far. */
const Cursor = z.strictObject({
  last: z.int().min(1),
  days: z.int().min(1),
  orderedBy: z.string(),
  place: z.discriminatedUnion("among", [
    z.strictObject({ among: z.literal("devices"), after: DeviceId.nullable() }),
    z.strictObject({
      among: z.literal("blobs"),
      after: z.strictObject({ siteId: SiteId, sha256: Sha256 }).nullable(),
    }),
  ]),
  revisions: z.int().min(0),
  blobs: z.int().min(0),
});
type Cursor = z.infer<typeof Cursor>;

/** Where the task begins. */
export function startOfRetention(order: Pick<Cursor, "last" | "days" | "orderedBy">): Cursor {
  return { ...order, place: { among: "devices", after: null }, revisions: 0, blobs: 0 };
}

export const applyRetention: TaskWork = {
  async count(db) {
    const { rows: [row] } = await sql<{ count: string }>`
      select (select count(*) from devices) + (select count(*) from blobs) as count`.execute(db);
    return Number(row?.count ?? 0);
  },
  async runBatch(tx, _context, options) {
    const until = performance.now() + BATCH_MS;
    let cursor = Cursor.parse(options.cursor);
    let done = 0;
    do {
      const step = cursor.place.among === "devices"
        ? await visitDevices(tx, cursor, cursor.place.after)
        : await visitBlobs(tx, cursor, cursor.place.after);
      done += step.done;
      if (!step.next) return { state: "completed", done, found: [sumOf(cursor)] };
      cursor = step.next;
    } while (performance.now() < until);
    return { state: "more", cursor, done };
  },
};

interface Step {
  readonly done: number;
  /** Undefined when all is done. */
  readonly next: Cursor | undefined;
}

async function visitDevices(
  tx: Transaction<Database>,
  cursor: Cursor,
  after: DeviceId | null,
): Promise<Step> {
  const deviceIds = await readDevices(tx, {
    scope: EVERYTHING,
    after: after ?? undefined,
    limit: DEVICES,
  });
  const end = deviceIds.at(-1);
  if (end === undefined) {
    return { done: 0, next: { ...cursor, place: { among: "blobs", after: null } } };
  }
  const gone = await deleteOld(tx, { ...cursor, deviceIds });
  await noteGone(tx, cursor, gone);
  const revisions = cursor.revisions + gone.length;
  const place = { among: "devices" as const, after: end };
  return { done: deviceIds.length, next: { ...cursor, place, revisions } };
}

async function visitBlobs(
  tx: Transaction<Database>,
  cursor: Cursor,
  after: BlobName | null,
): Promise<Step> {
  const { last, looked, deleted } = await sweepBlobs(tx, { after, limit: BLOBS });
  if (!last) return { done: 0, next: undefined };
  const blobs = cursor.blobs + deleted;
  return { done: looked, next: { ...cursor, place: { among: "blobs", after: last }, blobs } };
}

/** A row for each site: history that is gone is told to whoever audits the site. */
async function noteGone(
  tx: Transaction<Database>,
  { orderedBy, last, days }: Cursor,
  gone: readonly GoneRevision[],
): Promise<void> {
  for (const [siteId, ofSite] of Map.groupBy(gone, ({ siteId }) => siteId)) {
    await writeAudit(tx, {
      actor: systemActor("retention"),
      action: "revisions.expire",
      target: { kind: "site", id: siteId },
      siteId,
      detail: { orderedBy, last, days, revisionIds: ofSite.map(({ id }) => id) },
    });
  }
}

function sumOf({ revisions, blobs }: Cursor): string {
  return `${revisions} revisions and ${blobs} stored contents deleted`;
}
