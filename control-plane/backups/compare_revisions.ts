import type { Kysely } from "kysely";
import type { Diff } from "@rookery/shared/api/backups.ts";
import { normalise, type NormaliseRules } from "@rookery/shared/drivers/normalise.ts";
import type { Database } from "../database/schema.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { diffTexts } from "./diff.ts";
import { driverOf, renderText } from "./render_text.ts";
import { type RevisionRow, selectPreviousRevision } from "./store.ts";

export interface Comparison {
  readonly keyRing: KeyRing;
  readonly revision: RevisionRow;
  /** The older text; the accepted revision before this one when absent. */
  readonly before?: RevisionRow | undefined;
  readonly context: number;
  readonly volatile: "hidden" | "shown";
}

/** Compares the redacted texts of two revisions; the first one of a capture is compared with nothing. */
export async function compareRevisions(
  db: Kysely<Database>,
  comparison: Comparison,
): Promise<
  { readonly diff: Diff; readonly names: { readonly before: string; readonly after: string } }
> {
  const { revision, context } = comparison;
  const before = comparison.before ?? await selectPreviousRevision(db, revision);
  const [old, now] = [
    before ? await comparedText(db, comparison, before) : "",
    await comparedText(db, comparison, revision),
  ];
  return {
    diff: diffTexts(old, now, { context }),
    names: { before: before ? nameOf(before) : "/dev/null", after: nameOf(revision) },
  };
}

async function comparedText(
  db: Kysely<Database>,
  { keyRing, volatile }: Comparison,
  revision: RevisionRow,
): Promise<string> {
  const text = await renderText(db, { keyRing, ...revision, rawSha256: revision.sha256 });
  return volatile === "shown" ? text : normalise(text, rulesOf(revision));
}

/** A driver may lack a capture that an older one of its platform had. */
function rulesOf({ platform, capture: name }: RevisionRow): NormaliseRules {
  const driver = driverOf(platform);
  return { driver, capture: driver.captures.find((capture) => capture.name === name) ?? {} };
}

function nameOf({ deviceId, capture, number }: RevisionRow): string {
  return `${deviceId}/${capture}\trevision ${number}`;
}
