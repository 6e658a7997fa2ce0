import type { Kysely } from "kysely";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { Database } from "../database/schema.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { digestRow, packDigests, type RowDigest, unpackDigests } from "./row_digests.ts";
import {
  digestOfSignature,
  readStatement,
  type RowPlace,
  SEGMENT_TYPE,
  SegmentStatement,
} from "./segment.ts";
import { type SegmentRow, selectBetween, selectPresent } from "./segment_store.ts";

export interface CheckServices {
  readonly db: Kysely<Database>;
  readonly keyRing: KeyRing;
  readonly issuer: string;
}

/** Where a check is: what the next segment has to follow. */
export interface Reached {
  readonly number: number;
  readonly sha256: string;
  readonly last: RowPlace | undefined;
}

export interface CheckedSegment {
  readonly reached: Reached;
  readonly rowCount: number;
  readonly newestAt: string | undefined;
  /** What is wrong, for people. */
  readonly found: readonly string[];
}

/** Holds one segment against its signature, against the one before it, and its rows against their digests. */
export async function checkSegment(
  services: CheckServices,
  { row, reached: before }: { readonly row: SegmentRow; readonly reached: Reached },
): Promise<CheckedSegment> {
  const { signature } = row;
  const number = Number(row.number);
  const statement = await readStatement(services, {
    signature,
    type: SEGMENT_TYPE,
    schema: SegmentStatement,
  });
  const digest = await digestOfSignature(signature);
  if (!statement) {
    const last = { incarnation: row.lastIncarnation, xid: row.lastXid, id: row.lastId };
    return {
      reached: { number, sha256: digest, last },
      rowCount: row.rowCount,
      newestAt: undefined,
      found: [`segment ${number}: it is not signed by a key of this installation`],
    };
  }
  const found = [
    ...checkPlace(statement, { number, before }),
    ...checkColumns(statement, row),
    ...await checkRows(services, { statement, row, before }),
  ];
  return {
    reached: { number, sha256: digest, last: statement.last },
    rowCount: statement.rowCount,
    newestAt: statement.newestAt,
    found: found.map((trouble) => `segment ${number}: ${trouble}`),
  };
}

function checkPlace(
  statement: SegmentStatement,
  { number, before }: { readonly number: number; readonly before: Reached },
): readonly string[] {
  if (statement.number !== number) {
    return [`it was signed as segment ${statement.number}: segments were re-ordered`];
  }
  const missing = number - before.number - 1;
  if (missing === 1) return [`the one before it, ${number - 1}, was removed`];
  if (missing > 1) return [`${before.number + 1} to ${number - 1}, before it, were removed`];
  return statement.previousSha256 === before.sha256
    ? []
    : ["it does not follow the one before it, which was replaced"];
}

/** The columns decide where the next segment begins, so they must say what was signed. */
function checkColumns({ last, rowCount }: SegmentStatement, row: SegmentRow): readonly string[] {
  const isSame = last.incarnation === row.lastIncarnation && last.xid === row.lastXid &&
    last.id === row.lastId && rowCount === row.rowCount;
  return isSame ? [] : ["its columns were altered"];
}

async function checkRows(
  { db }: CheckServices,
  { statement, row, before }: {
    readonly statement: SegmentStatement;
    readonly row: SegmentRow;
    readonly before: Reached;
  },
): Promise<readonly string[]> {
  const isNext = before.number === statement.number - 1;
  const until = statement.last;
  const between = await selectBetween(db, { after: isNext ? before.last : undefined, until });
  // Behind a gap, the rows of what is missing cannot be told from rows that were inserted.
  const rows = isNext ? between : between.slice(
    Math.max(0, between.findIndex(({ id }) => id === statement.first.id)),
  );
  const present = rows.map(digestRow);
  if (await sha256(packDigests(present)) === statement.rowsSha256) return [];
  if (await sha256(Uint8Array.from(row.rowDigests)) !== statement.rowsSha256) {
    return ["its rows are not those that were sealed, and its list of them was altered too"];
  }
  return await compareRows(db, { sealed: unpackDigests(row.rowDigests), present });
}

interface Rows {
  readonly sealed: readonly RowDigest[];
  readonly present: readonly RowDigest[];
}

/** Names each row that is not as it was sealed. */
async function compareRows(
  db: Kysely<Database>,
  { sealed, present }: Rows,
): Promise<readonly string[]> {
  const here = new Map(present.map((row) => [row.id, row.sha256]));
  const known = new Set(sealed.map(({ id }) => id));
  const elsewhere = await selectPresent(
    db,
    sealed.filter(({ id }) => !here.has(id)).map(({ id }) => id),
  );
  const found = sealed.flatMap(({ id, sha256 }, index) => {
    const row = `row ${index + 1} of ${sealed.length}, ${id},`;
    const now = here.get(id);
    if (now === sha256) return [];
    if (now !== undefined) return [`${row} was altered`];
    return [elsewhere.has(id) ? `${row} was moved to another place` : `${row} was removed`];
  });
  const inserted = present.filter(({ id }) => !known.has(id))
    .map(({ id }) => `row ${id} was inserted, or moved here`);
  const all = [...found, ...inserted];
  return all.length > 0 ? all : ["its rows were re-ordered"];
}
