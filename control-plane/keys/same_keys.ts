import { type Kysely, sql } from "kysely";
import { canonicalJson } from "@rookery/shared/canonical_json.ts";
import type { Database } from "../database/schema.ts";
import { KeyFileError } from "./key_file.ts";
import type { KeyFingerprints, KeyRing } from "./key_ring.ts";
import { putInForce, readPending } from "./pending_keys.ts";

/**
 * Refuses to start with other keys than those the database was written with: with them, every stored secret
 * would be lost and every agent would refuse its leases. The first start writes the fingerprints down.
 */
export async function assertSameKeys(db: Kysely<Database>, keyRing: KeyRing): Promise<void> {
  await db.updateTable("installation")
    .set({ keyFingerprints: keyRing.fingerprints, keyGeneration: keyRing.generation })
    .where("keyFingerprints", "is", null)
    .execute();
  const difference = await settleKeys(db, keyRing);
  if (difference !== undefined) throw new KeyFileError(`Refused to start: ${difference}`);
}

/**
 * What keeps these keys from being the installation's, with the remedy; undefined when they are. Keys that a rotation
 * announced and that were written to the file are put in force here, so that a rotation cut short ends by itself.
 */
export async function settleKeys(
  db: Kysely<Database>,
  keyRing: KeyRing,
): Promise<string | undefined> {
  const pending = await readPending(db);
  if (pending?.generation === keyRing.generation) {
    const announced = differences(keyRing.fingerprints, pending.fingerprints).length === 0;
    if (announced) await putInForce(db, pending);
  }
  const { keyFingerprints, keyGeneration } = await db.selectFrom("installation")
    .select(["keyFingerprints", "keyGeneration"])
    .executeTakeFirstOrThrow();
  if (keyRing.generation < keyGeneration) return isOld(keyRing.generation, keyGeneration);
  const different = differences(keyRing.fingerprints, keyFingerprints);
  if (different.length > 0) return isAnother(different, keyRing.generation > keyGeneration);
  return keyRing.generation > keyGeneration ? isAnother(["generation differs"], true) : undefined;
}

/** The generation that is in force; it says whether there are newer keys than those in memory. */
export async function readGeneration(db: Kysely<Database>): Promise<number> {
  const { rows: [row] } = await sql<{ keyGeneration: number }>`
    select key_generation from installation`.execute(db);
  return row?.keyGeneration ?? 0;
}

/** Whether this database was written with keys already: then they are somewhere, and new ones would open nothing. */
export async function hasKeys(db: Kysely<Database>): Promise<boolean> {
  const { keyFingerprints } = await db.selectFrom("installation")
    .select("keyFingerprints")
    .executeTakeFirstOrThrow();
  return keyFingerprints !== null;
}

function isOld(mine: number, theirs: number): string {
  return `the key file is an old one (generation ${mine}; the keys were rotated and are at ${theirs}). ` +
    "All replicas read one key file: point ROOKERY_KEYS at it, or copy the newest one here.";
}

function isAnother(different: readonly string[], isNewer: boolean): string {
  const remedy = isNewer
    ? "It is newer than the database: if the database was restored from a backup that is older than the last rotation, " +
      "run: deno task keys:rotate repair."
    : "All replicas read one key file; point ROOKERY_KEYS at it, or restore it from your backup.";
  return `the key file does not belong to this database (${different.join(", ")}). ${remedy}`;
}

/** Which kinds of keys differ; of older installations fewer are written down. */
export function differences(mine: KeyFingerprints, stored: unknown): readonly string[] {
  const theirs: Readonly<Record<string, unknown>> = typeof stored === "object" && stored !== null
    ? { ...stored }
    : {};
  return Object.entries(mine)
    .filter(([name, value]) => canonicalJson(value) !== canonicalJson(theirs[name] ?? null))
    .map(([name]) => `${name} keys differ`);
}
