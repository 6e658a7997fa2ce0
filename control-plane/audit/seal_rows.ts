/**
 * The seal of the audit log: rows become segments in the order of their commits, each naming the one before it and signed by
 * a key that the database does not have. Whoever can write to the database can recompute every digest, and no signature.
 */
import { type Kysely, sql } from "kysely";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { Log } from "../http/log.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { type AuditRowFound, digestRow, packDigests } from "./row_digests.ts";
import {
  digestOfSignature,
  FLOOR_TYPE,
  FloorStatement,
  NOTHING,
  readStatement,
  type RowPlace,
  SEGMENT_TYPE,
  SegmentStatement,
  signStatement,
} from "./segment.ts";
import { insertSegment, selectFloor, selectTail, selectUnsealed } from "./segment_store.ts";

/** Most rows of a segment; some have details of hundreds of kilobytes. */
const MOST_ROWS = 200;
/** A lone row waits for others for so long: a segment costs as much as a row. */
const WAIT_SECONDS = 60;

export interface SealServices {
  readonly db: Kysely<Database>;
  readonly keyRing: KeyRing;
  readonly issuer: string;
  readonly log: Log;
}

/**
 * Seals what is due. Any number of replicas may do it at once: the first to store a segment of some number has made it, and
 * the others begin anew behind it. Returns how many rows it sealed.
 */
export async function sealAuditRows(
  services: SealServices,
  { waitSeconds = WAIT_SECONDS }: { readonly waitSeconds?: number } = {},
): Promise<number> {
  let sealed = 0;
  try {
    for (;;) {
      const found = await sealNext(services, waitSeconds);
      sealed += found;
      if (found < MOST_ROWS) return sealed;
    }
  } catch (error) {
    // Another replica has the newest keys, or will.
    if (error instanceof ProblemError && error.type === "keys-stale") return sealed;
    throw error;
  }
}

async function sealNext(services: SealServices, waitSeconds: number): Promise<number> {
  const { db, keyRing, issuer, log } = services;
  const before = await readEnd(services);
  const found = await selectUnsealed(db, { after: before.last, limit: MOST_ROWS, waitSeconds });
  const [first, last] = [found.rows[0], found.rows.at(-1)];
  if (!first || !last || (found.rows.length < MOST_ROWS && !found.due)) return 0;
  const rowDigests = packDigests(found.rows.map(digestRow));
  const times = found.rows.map(({ at }) => at).toSorted(Temporal.Instant.compare);
  const statement = SegmentStatement.parse({
    iss: issuer,
    number: before.number + 1,
    previousSha256: before.sha256,
    first: placeOf(first),
    last: placeOf(last),
    rowCount: found.rows.length,
    rowsSha256: await sha256(rowDigests),
    oldestAt: times[0]?.toString(),
    newestAt: times.at(-1)?.toString(),
    sealedAt: found.now,
  });
  const signature = await signStatement(keyRing, { type: SEGMENT_TYPE, statement });
  if (!await insertSegment(db, { statement, signature, rowDigests })) return 0;
  const { number, rowCount } = statement;
  // A witness where the database is not.
  const digest = await digestOfSignature(signature);
  log({ level: "info", message: "Audit sealed", number, rows: rowCount, sha256: digest });
  return rowCount;
}

interface End {
  readonly number: number;
  readonly sha256: string;
  readonly last: RowPlace | undefined;
}

/** What the next segment follows. It is taken as it stands: whether it was tampered with is for a verification to say. */
async function readEnd({ db, keyRing, issuer }: SealServices): Promise<End> {
  const tail = await selectTail(db);
  if (tail) {
    const last = { incarnation: tail.lastIncarnation, xid: tail.lastXid, id: tail.lastId };
    return { number: Number(tail.number), sha256: await digestOfSignature(tail.signature), last };
  }
  const signature = await selectFloor(db);
  const floor = signature === undefined ? undefined : await readStatement({ keyRing, issuer }, {
    signature,
    type: FLOOR_TYPE,
    schema: FloorStatement,
  });
  return floor ?? { number: 0, sha256: NOTHING, last: undefined };
}

export function placeOf({ incarnation, xid, id }: AuditRowFound): RowPlace {
  return { incarnation, xid, id };
}

/** The name of the installation in what it signs. */
export async function readIssuer(db: Kysely<Database>): Promise<string> {
  const { rows: [row] } = await sql<{ id: string }>`select id from installation`.execute(db);
  if (!row) throw new Error("Cannot name the installation: its row is missing");
  return `urn:uuid:${row.id}`;
}
