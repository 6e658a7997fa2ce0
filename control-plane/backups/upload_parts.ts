import { type Kysely, sql } from "kysely";
import type { LeaseId, Sha256 } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { openEnvelope, type SealContext, sealEnvelope, SealError } from "../keys/envelope.ts";
import type { KeyRing } from "../keys/key_ring.ts";

/** An upload under a lease: parts of other bodies, or of other leases, are not part of it. */
export interface PartsOf {
  readonly leaseId: LeaseId;
  readonly sha256: Sha256;
  /** Names the body as it travels. */
  readonly uploadId: Sha256;
}

/** What of one lease's uploads may wait for its rest, in times of the device's limit: one that goes on, and a new one. */
const MOST_WAITING = 2;
const MOST_PARTS = 400;
/** Longer than the longest lease, and than the patience of anybody who would go on. */
const KEPT_HOURS = 24;

/** Keeps what arrived of an upload from this byte on; nothing when the lease has as much waiting as it may. */
export async function keepPart(
  db: Kysely<Database>,
  part: PartsOf & {
    readonly keyRing: KeyRing;
    readonly startAt: number;
    readonly bytes: Uint8Array<ArrayBuffer>;
    readonly maxBytes: number;
  },
): Promise<boolean> {
  const { keyRing, leaseId, sha256, uploadId, startAt, bytes, maxBytes } = part;
  // Begun anew in another form: nobody goes on with the old one.
  if (startAt === 0) await dropParts(db, { leaseId, sha256, except: uploadId });
  const { parts, waiting } = await countWaiting(db, leaseId);
  if (parts >= MOST_PARTS || waiting + bytes.length > maxBytes * MOST_WAITING) return false;
  const sealed = await sealEnvelope(keyRing, {
    context: contextOf(part, startAt),
    plaintext: bytes,
  });
  await db.insertInto("uploadParts")
    .values({ leaseId, sha256, uploadId, startAt, bytes: bytes.length, ...sealed })
    .onConflict((conflict) => conflict.doNothing()).execute();
  return true;
}

async function countWaiting(db: Kysely<Database>, leaseId: LeaseId) {
  const { parts, waiting } = await db.selectFrom("uploadParts")
    .select(({ fn }) => [fn.countAll<string>().as("parts"), fn.sum<string>("bytes").as("waiting")])
    .where("leaseId", "=", leaseId).executeTakeFirstOrThrow();
  return { parts: Number(parts), waiting: Number(waiting ?? 0) };
}

/** How many bytes of an upload are there without a gap, and under which name; undefined when there are none. */
export async function findParts(
  db: Kysely<Database>,
  { leaseId, sha256 }: Omit<PartsOf, "uploadId">,
): Promise<{ readonly uploadId: string; readonly end: number } | undefined> {
  const parts = await db.selectFrom("uploadParts").select(["uploadId", "startAt", "bytes"])
    .where("leaseId", "=", leaseId).where("sha256", "=", sha256)
    .orderBy("receivedAt", "desc").execute();
  const [newest] = parts;
  if (!newest) return undefined;
  const own = parts.filter(({ uploadId }) => uploadId === newest.uploadId);
  const end = withoutGap(own).reduce((sum, { bytes }) => sum + bytes, 0);
  return end === 0 ? undefined : { uploadId: newest.uploadId, end };
}

/** The bytes of an upload that are there without a gap, opened; nothing when a part does not open any more. */
export async function readParts(
  db: Kysely<Database>,
  { keyRing, ...of }: PartsOf & { readonly keyRing: KeyRing },
): Promise<readonly Uint8Array<ArrayBuffer>[]> {
  const parts = await db.selectFrom("uploadParts")
    .select(["startAt", "bytes", "kekId", "wrappedKey", "nonce", "ciphertext"])
    .where("leaseId", "=", of.leaseId).where("sha256", "=", of.sha256)
    .where("uploadId", "=", of.uploadId).execute();
  try {
    return await Promise.all(
      withoutGap(parts).map((envelope) =>
        openEnvelope(keyRing, { context: contextOf(of, envelope.startAt), envelope })
      ),
    );
  } catch (error) {
    if (error instanceof SealError) return [];
    throw error;
  }
}

/** Forgets what waits of an upload, under whatever name. */
export async function dropParts(
  db: Kysely<Database>,
  { leaseId, sha256, except }: Omit<PartsOf, "uploadId"> & { readonly except?: Sha256 },
): Promise<void> {
  await db.deleteFrom("uploadParts").where("leaseId", "=", leaseId).where("sha256", "=", sha256)
    .$if(except !== undefined, (query) => query.where("uploadId", "!=", except ?? ""))
    .execute();
}

/** Forgets what nobody went on with. */
export async function deleteOldParts(db: Kysely<Database>): Promise<void> {
  await sql`delete from upload_parts
    where received_at < clock_timestamp() - make_interval(hours => ${KEPT_HOURS})`.execute(db);
}

/** Two senders of one upload may have left parts that overlap: each part counts that begins where the last one ended. */
function withoutGap<Part extends { readonly startAt: number; readonly bytes: number }>(
  parts: readonly Part[],
): Part[] {
  let end = 0;
  const row: Part[] = [];
  for (const part of parts.toSorted((left, right) => left.startAt - right.startAt)) {
    if (part.startAt !== end) continue;
    row.push(part);
    end += part.bytes;
  }
  return row;
}

function contextOf({ leaseId, sha256, uploadId }: PartsOf, startAt: number): SealContext {
  return ["upload-part", leaseId, sha256, uploadId, startAt];
}
