import type { Kysely } from "kysely";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { DeviceId, LeaseId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { type BlobName, openBlob, sealBlob } from "./blob_seal.ts";

/** What arrived, and under which lease. */
export interface Upload extends BlobName {
  readonly keyRing: KeyRing;
  readonly leaseId: LeaseId;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Stores exact bytes and notes the lease they arrived under. Again is the same as once. The note comes last:
 * a result may name the digest only when the bytes are there.
 */
export async function putBlob(db: Kysely<Database>, upload: Upload): Promise<void> {
  const { keyRing, leaseId, siteId, bytes } = upload;
  if (await sha256(bytes) !== upload.sha256) {
    throw new ProblemError("malformed", "The bytes do not have the digest in the address.");
  }
  if (!await claimBlob(db, upload)) {
    const sealed = await sealBlob(keyRing, { siteId, sha256: upload.sha256, bytes });
    await db.insertInto("blobs")
      .values({ siteId, sha256: upload.sha256, ...sealed })
      .onConflict((conflict) => conflict.columns(["siteId", "sha256"]).doNothing())
      .execute();
  }
  await db.insertInto("uploads").values({ leaseId, sha256: upload.sha256, siteId })
    .onConflict((conflict) => conflict.columns(["leaseId", "sha256"]).doNothing())
    .execute();
}

/**
 * Whether the bytes are there, and stay there: a mark of retention is taken away, and whoever deletes the row meanwhile
 * either sees that or was first (see orphaned_blobs.ts). Without a mark nobody deletes it for days.
 */
async function claimBlob(db: Kysely<Database>, { siteId, sha256 }: BlobName): Promise<boolean> {
  const row = await db.selectFrom("blobs").select("orphanedAt")
    .where("siteId", "=", siteId).where("sha256", "=", sha256).executeTakeFirst();
  if (!row || row.orphanedAt === null) return row !== undefined;
  const claimed = await db.updateTable("blobs").set({ orphanedAt: null })
    .where("siteId", "=", siteId).where("sha256", "=", sha256).returning("sha256")
    .executeTakeFirst();
  return claimed !== undefined;
}

/** The exact bytes of a blob, or undefined when the site has none of that digest; a SealError when altered. */
export async function readBlob(
  db: Kysely<Database>,
  { keyRing, siteId, sha256 }: BlobName & { readonly keyRing: KeyRing },
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const sealed = await db.selectFrom("blobs")
    .select(["bytes", "kekId", "wrappedKey", "nonce", "ciphertext"])
    .where("siteId", "=", siteId).where("sha256", "=", sha256).executeTakeFirst();
  return sealed && await openBlob(keyRing, { siteId, sha256, sealed });
}

/** Seals the bytes of one site for another one as well; nothing to do where that has them, or nobody has. */
export async function copyBlob(
  db: Kysely<Database>,
  { keyRing, from, to, sha256 }: {
    readonly keyRing: KeyRing;
    readonly from: SiteId;
    readonly to: SiteId;
    readonly sha256: Sha256;
  },
): Promise<void> {
  if (await claimBlob(db, { siteId: to, sha256 })) return;
  const bytes = await readBlob(db, { keyRing, siteId: from, sha256 });
  if (!bytes) return;
  const sealed = await sealBlob(keyRing, { siteId: to, sha256, bytes });
  await db.insertInto("blobs").values({ siteId: to, sha256, ...sealed })
    .onConflict((conflict) => conflict.columns(["siteId", "sha256"]).doNothing()).execute();
}

/**
 * Whether a revision of this very device has these exact bytes. Never asks for the site's blobs: "yes" about
 * another device's digest would tell an agent what that device is configured with.
 */
export async function deviceHasDigest(
  db: Kysely<Database>,
  { deviceId, sha256 }: { readonly deviceId: DeviceId; readonly sha256: Sha256 },
): Promise<boolean> {
  const row = await db.selectFrom("revisions").select("id")
    .where("deviceId", "=", deviceId).where("rawSha256", "=", sha256)
    .limit(1).executeTakeFirst();
  return row !== undefined;
}

/** Whether these bytes arrived under this lease. */
export async function leaseHasDigest(
  db: Kysely<Database>,
  { leaseId, sha256 }: { readonly leaseId: LeaseId; readonly sha256: Sha256 },
): Promise<boolean> {
  const row = await db.selectFrom("uploads").select("sha256")
    .where("leaseId", "=", leaseId).where("sha256", "=", sha256).executeTakeFirst();
  return row !== undefined;
}

/** Uploads that one lease may make: captures of a device, each read anew after a broken connection. */
const MOST_UPLOADS = 100;

/** How many bytes may still arrive as one blob under a lease: the device's limit, nothing after too many. */
export async function roomUnderLease(
  db: Kysely<Database>,
  { leaseId, deviceId }: { readonly leaseId: LeaseId; readonly deviceId: DeviceId },
): Promise<number> {
  const { maxBytes } = await db.selectFrom("devices").select("maxBytes")
    .where("id", "=", deviceId).executeTakeFirstOrThrow();
  const uploads = await db.selectFrom("uploads").select("sha256")
    .where("leaseId", "=", leaseId).limit(MOST_UPLOADS).execute();
  return uploads.length < MOST_UPLOADS ? maxBytes : 0;
}
