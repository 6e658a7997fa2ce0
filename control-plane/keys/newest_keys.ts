import type { Kysely } from "kysely";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { KeyRing } from "./key_ring.ts";
import { readGeneration } from "./same_keys.ts";

/** A replica takes a task before it has read the new key file: with the old keys it would come to wrong ends. */
export async function assertNewestKeys(
  db: Kysely<Database>,
  { keyRing }: { readonly keyRing: KeyRing },
): Promise<void> {
  if (await readGeneration(db) === keyRing.generation) return;
  throw new ProblemError(
    "keys-stale",
    "The replica that took it has not read the newest keys yet.",
  );
}
