import { sql } from "kysely";
import { systemActor, writeAudit } from "../audit/store.ts";
import { inTransaction } from "../database/transaction.ts";
import type { KeyPlace } from "./change_keys.ts";
import { KeyFileError, readExistingKeyFile } from "./key_file.ts";
import { openKeyRing } from "./key_ring.ts";
import { settleKeys } from "./same_keys.ts";
import { idsInUse } from "./wrapped_tables.ts";

/**
 * Makes the database take the key file as it is, when that loses nothing: after a database was restored from a backup
 * older than the last rotation. Refuses a file that is older, has another root, or lacks a key that is in use. Returns
 * false when there was nothing to mend.
 */
export async function repairKeys({ db, path }: KeyPlace): Promise<boolean> {
  const ring = await openKeyRing(await readExistingKeyFile(path));
  const difference = await settleKeys(db, ring);
  if (difference === undefined) return false;
  const { keyFingerprints, keyGeneration } = await db.selectFrom("installation")
    .select(["keyFingerprints", "keyGeneration"]).executeTakeFirstOrThrow();
  if (keyGeneration > ring.generation) throw new KeyFileError(`Cannot repair: ${difference}`);
  if (rootOf(keyFingerprints) !== ring.fingerprints.derivation) {
    throw new KeyFileError(
      `Cannot repair: ${path} belongs to another installation. Restore the key file from your backup of it.`,
    );
  }
  const missing = (await idsInUse(db)).filter((id) => !(id in ring.fingerprints.kek));
  if (missing.length > 0) {
    throw new KeyFileError(
      `Cannot repair: ${path} lacks ${
        missing.join(", ")
      }, which the database needs. Restore a key file that has it.`,
    );
  }
  await inTransaction(db, async (tx) => {
    const { fingerprints, generation } = ring;
    await sql`
      update installation set pending_keys = null, key_generation = ${generation},
        key_fingerprints = ${JSON.stringify(fingerprints)}::text::jsonb`.execute(tx);
    const actor = systemActor("keys:rotate");
    await writeAudit(tx, { actor, action: "keys.repair", detail: { generation } });
  });
  return true;
}

function rootOf(fingerprints: unknown): unknown {
  return typeof fingerprints === "object" && fingerprints !== null && "derivation" in fingerprints
    ? fingerprints.derivation
    : undefined;
}
