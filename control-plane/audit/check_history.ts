import { Sha256 } from "@rookery/shared/ids.ts";
import { z } from "zod";
import { checkSegment, type CheckServices, type Reached } from "./check_segment.ts";
import {
  digestOfSignature,
  FLOOR_TYPE,
  FloorStatement,
  NOTHING,
  readStatement,
  RowPlace,
  SEGMENT_TYPE,
  SegmentStatement,
} from "./segment.ts";
import { countAfter, selectBetween, selectFloor, selectSegments } from "./segment_store.ts";

const CHUNK = 20;

/** Where a check is, in a form that can be kept; `head` is what it was shown of a former one. */
export const CheckCursor = z.strictObject({
  head: z.string().nullable(),
  at: z.strictObject({
    number: z.int(),
    sha256: Sha256,
    last: RowPlace.nullable(),
    hadHead: z.boolean(),
    wrong: z.int(),
  }).optional(),
});
export type CheckCursor = z.infer<typeof CheckCursor>;

/** What was looked at in one go. */
export interface Checked {
  /** Where to go on; undefined when all was checked. */
  readonly cursor: CheckCursor | undefined;
  readonly rows: number;
  /** How many things were wrong so far. */
  readonly wrong: number;
  /** What is wrong, for people. */
  readonly found: readonly string[];
  /** What is worth knowing and not wrong; at the end. */
  readonly notes: readonly string[];
}

/** Checks the next segments, or what stands before the first or after the last of them. Changes nothing. */
export async function checkHistory(
  services: CheckServices,
  cursor: CheckCursor,
  { until = Infinity }: { readonly until?: number } = {},
): Promise<Checked> {
  if (!cursor.at) return await begin(services, cursor);
  const { number, sha256, last } = cursor.at;
  let reached: Reached = { number, sha256, last: last ?? undefined };
  let { hadHead } = cursor.at;
  let rows = 0;
  const found: string[] = [];
  const segments = await selectSegments(services.db, { after: number, limit: CHUNK });
  if (segments.length === 0) return await end(services, cursor, cursor.at);
  for (const row of segments) {
    const checked = await checkSegment(services, { row, reached });
    reached = checked.reached;
    rows += checked.rowCount;
    found.push(...checked.found);
    hadHead ||= row.signature === cursor.head;
    if (performance.now() > until) break;
  }
  return goOn({ head: cursor.head, wrong: cursor.at.wrong, found, rows, reached, hadHead });
}

function goOn(
  { head, wrong, found, rows, reached, hadHead }: {
    readonly head: string | null;
    readonly wrong: number;
    readonly found: readonly string[];
    readonly rows: number;
    readonly reached: Reached;
    readonly hadHead: boolean;
  },
): Checked {
  const all = wrong + found.length;
  const { number, sha256, last = null } = reached;
  const at = { number, sha256: Sha256.parse(sha256), last, hadHead, wrong: all };
  return { cursor: { head, at }, rows, wrong: all, found, notes: [] };
}

/** The signed note of retention stands in the place of what it dropped. */
async function begin(services: CheckServices, { head }: CheckCursor): Promise<Checked> {
  const signature = await selectFloor(services.db);
  const nothing = { head, wrong: 0, rows: 0, hadHead: false };
  const start: Reached = { number: 0, sha256: NOTHING, last: undefined };
  if (signature === undefined) return goOn({ ...nothing, found: [], reached: start });
  const floor = await readStatement(services, {
    signature,
    type: FLOOR_TYPE,
    schema: FloorStatement,
  });
  if (!floor) {
    const found = [
      "the note of what retention dropped is not signed by a key of this installation",
    ];
    return goOn({ ...nothing, found, reached: start });
  }
  const left = await selectBetween(services.db, { after: undefined, until: floor.last });
  const found = left.map(({ id }) =>
    `row ${id} was inserted: retention dropped all rows up to segment ${floor.number}`
  );
  const hadHead = await isBelow(services, { head, floor });
  return goOn({ ...nothing, found, reached: { ...floor }, hadHead });
}

/** Whether retention dropped the segment of the head, so that it cannot be compared. */
async function isBelow(
  services: CheckServices,
  { head, floor }: { readonly head: string | null; readonly floor: FloorStatement },
): Promise<boolean> {
  if (head === null) return false;
  const shown = await readHeadStatement(services, head);
  if (!shown || shown.number > floor.number) return false;
  return shown.number < floor.number || await digestOfSignature(head) === floor.sha256;
}

async function end(
  services: CheckServices,
  { head }: CheckCursor,
  { number, last, hadHead, wrong }: NonNullable<CheckCursor["at"]>,
): Promise<Checked> {
  const found = head === null || hadHead ? [] : [await missingHead(services, { head, number })];
  const { count, oldestAt } = await countAfter(services.db, last ?? undefined);
  const notes = [
    number === 0 ? "nothing is sealed yet" : `the newest segment is number ${number}`,
    count === 0
      ? "there is no row that is not sealed"
      : `the newest ${count} rows, since ${oldestAt}, are not sealed yet`,
  ];
  return { cursor: undefined, rows: 0, wrong: wrong + found.length, found, notes };
}

async function missingHead(
  services: CheckServices,
  { head, number }: { readonly head: string; readonly number: number },
): Promise<string> {
  const shown = await readHeadStatement(services, head);
  if (!shown) return "the head that was shown is not signed by a key of this installation";
  return shown.number > number
    ? `segments ${number + 1} to ${shown.number} were cut off: the head that was shown is ` +
      `segment ${shown.number}, sealed at ${shown.sealedAt}`
    : `segment ${shown.number} is another one than the head that was shown: everything from ` +
      "there on, or from before, was replaced";
}

function readHeadStatement(
  services: CheckServices,
  signature: string,
): Promise<SegmentStatement | undefined> {
  return readStatement(services, { signature, type: SEGMENT_TYPE, schema: SegmentStatement });
}
