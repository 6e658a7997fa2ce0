import type { Kysely } from "kysely";
import type { Diff } from "@rookery/shared/api/backups.ts";
import type { Database } from "../database/schema.ts";
import { readExact, tagKey, type TextServices } from "./render_text.ts";
import { diffNameOf } from "./revision_names.ts";
import { type RevisionRow, selectDeviceName, selectPreviousRevision } from "./store.ts";
import type { SecretText } from "./text_work.ts";
import type { DiffNames } from "./unified_diff.ts";

export interface Comparison extends TextServices {
  readonly revision: RevisionRow;
  /** The older text; the accepted revision before this one when absent. */
  readonly before?: RevisionRow | undefined;
  readonly context: number;
  readonly volatile: "hidden" | "shown";
}

/**
 * Compares the redacted texts of two revisions; the first one of a capture is compared with nothing. Between two devices
 * secrets are not compared: nobody is to learn that they share one.
 */
export async function compareRevisions(
  db: Kysely<Database>,
  comparison: Comparison,
): Promise<{ readonly diff: Diff; readonly names: DiffNames }> {
  const { texts, revision, context, volatile } = comparison;
  const before = comparison.before ?? await selectPreviousRevision(db, revision);
  const tagged = !before || before.deviceId === revision.deviceId;
  const read = (of: RevisionRow) => readSecretText(db, { ...comparison, tagged }, of);
  const diff = await texts.run("compare", {
    before: before ? await read(before) : null,
    after: await read(revision),
    ...{ context, volatile },
  });
  return {
    diff,
    names: {
      before: before ? await nameOf(db, before) : "/dev/null",
      after: await nameOf(db, revision),
    },
  };
}

async function readSecretText(
  db: Kysely<Database>,
  { keyRing, tagged }: Pick<TextServices, "keyRing"> & { readonly tagged: boolean },
  { siteId, deviceId, platform, capture, sha256 }: RevisionRow,
): Promise<SecretText> {
  const bytes = await readExact(db, { keyRing, siteId, rawSha256: sha256 });
  return { bytes, platform, capture, key: tagged ? await tagKey(keyRing, deviceId) : null };
}

async function nameOf(db: Kysely<Database>, revision: RevisionRow): Promise<string> {
  return diffNameOf({ device: await selectDeviceName(db, revision), revision });
}
