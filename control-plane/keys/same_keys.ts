import type { Kysely } from "kysely";
import { canonicalJson } from "@rookery/shared/canonical_json.ts";
import type { Database } from "../database/schema.ts";
import { KeyFileError } from "./key_file.ts";
import type { KeyFingerprints, KeyRing } from "./key_ring.ts";

/**
 * Refuses to start with other keys than those the database was written with: with them, every stored secret
 * would be lost and every agent would refuse its leases. The first start writes the fingerprints down.
 */
export async function assertSameKeys(db: Kysely<Database>, keyRing: KeyRing): Promise<void> {
  await db.updateTable("installation")
    .set({ keyFingerprints: keyRing.fingerprints })
    .where("keyFingerprints", "is", null)
    .execute();
  const { keyFingerprints } = await db.selectFrom("installation")
    .select("keyFingerprints")
    .executeTakeFirstOrThrow();
  const different = differences(keyRing.fingerprints, keyFingerprints);
  if (different.length === 0) return;
  throw new KeyFileError(
    `Refused to start: the key file does not belong to this database (${different.join(", ")}). ` +
      "All replicas read one key file; point ROOKERY_KEYS at it, or restore it from your backup.",
  );
}

/** Whether this database was written with keys already: then they are somewhere, and new ones would open nothing. */
export async function hasKeys(db: Kysely<Database>): Promise<boolean> {
  const { keyFingerprints } = await db.selectFrom("installation")
    .select("keyFingerprints")
    .executeTakeFirstOrThrow();
  return keyFingerprints !== null;
}

function differences(mine: KeyFingerprints, stored: unknown): readonly string[] {
  const theirs: Readonly<Record<string, unknown>> = typeof stored === "object" && stored !== null
    ? { ...stored }
    : {};
  return Object.entries(mine)
    .filter(([name, value]) => canonicalJson(value) !== canonicalJson(theirs[name] ?? null))
    .map(([name]) => `${name} keys differ`);
}
