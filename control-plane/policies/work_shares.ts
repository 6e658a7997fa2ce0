import { type Kysely, sql } from "kysely";
import type { OccurrenceId, PolicyId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { endShare, workShare } from "./work_share.ts";

/** Shares that are looked for at once, and worked on beside each other. */
const ROUND = 200;
const LANES = 4;

/** What a run still has before it at one site. */
export interface ShareKey {
  readonly siteId: SiteId;
  readonly occurrenceId: OccurrenceId;
  readonly policyId: PolicyId;
}

/**
 * Makes the jobs of runs that were opened, site by site and in steps of at most a second; whatever ends it, the rest is
 * still in the table. One that fails keeps no other one waiting. Returns how many steps it took.
 */
export async function workShares(
  db: Kysely<Database>,
  options: { readonly occurrenceId?: OccurrenceId; readonly signal?: AbortSignal } = {},
): Promise<number> {
  const failed = new Map<string, unknown>();
  let steps = 0;
  while (!options.signal?.aborted) {
    const shares = (await selectShares(db, options.occurrenceId))
      .filter((share) => !failed.has(textOf(share)));
    if (shares.length === 0) break;
    await Promise.all(Array.from({ length: LANES }, async (_, lane) => {
      for (const share of shares.filter((_, index) => index % LANES === lane)) {
        if (options.signal?.aborted) return;
        await workStep(db, share).then(
          () => steps++,
          (error) => failed.set(textOf(share), error),
        );
      }
    }));
  }
  const [first] = failed;
  if (first) throw new Error(`Cannot make jobs of run and site ${first[0]}`, { cause: first[1] });
  return steps;
}

function textOf({ occurrenceId, siteId }: ShareKey): string {
  return `${occurrenceId} ${siteId}`;
}

/** Oldest run first; in it, replicas begin with different sites. */
async function selectShares(
  db: Kysely<Database>,
  occurrenceId: OccurrenceId | undefined,
): Promise<ShareKey[]> {
  const { rows } = await sql<ShareKey>`
    select site_id, occurrence_id, policy_id from occurrence_sites
    where ${occurrenceId === undefined ? sql`true` : sql`occurrence_id = ${occurrenceId}`}
    order by occurrence_id, random() limit ${ROUND}`.execute(db);
  return rows;
}

async function workStep(db: Kysely<Database>, share: ShareKey): Promise<void> {
  try {
    await inTransaction(db, (tx) => workShare(tx, share));
  } catch (error) {
    if (!(error instanceof ProblemError) || error.type !== "queue-full") throw error;
    // Nothing of this step was kept; the ledger says that the site's queue was full.
    await inTransaction(db, (tx) => endShare(tx, share, { reason: "queue_full" }));
  }
}
