import type { Kysely, Transaction } from "kysely";
import type { PolicyId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { openOccurrence, recordSkipped, shareAmongSites } from "./open_occurrence.ts";
import { type Decision, planDue } from "./plan.ts";
import { lockPolicy, setNextAt, type StoredPolicy } from "./store.ts";

/** Policies that are looked at in one round. */
const ROUND = 200;

/**
 * Decides every run that has come due and opens those that are to be made. Whoever decides holds the policy's row and
 * moves `next_at` forward with it, so that a second replica finds nothing left. A policy that cannot be decided keeps no
 * other one waiting: its error is thrown at the end.
 */
export async function decideDue(db: Kysely<Database>, now: Temporal.Instant): Promise<number> {
  const failed = new Map<PolicyId, unknown>();
  let decided = 0;
  for (let due = await selectDue(db, now); due.length > 0; due = await selectDue(db, now)) {
    const left = due.filter((id) => !failed.has(id));
    if (left.length === 0) break;
    for (const id of left) {
      try {
        decided += await inTransaction(db, (tx) => decidePolicy(tx, { id, now }));
      } catch (error) {
        failed.set(id, error);
      }
    }
  }
  const [first] = failed;
  if (first) throw new Error(`Cannot decide runs of policy ${first[0]}`, { cause: first[1] });
  return decided;
}

async function selectDue(db: Kysely<Database>, now: Temporal.Instant): Promise<PolicyId[]> {
  const rows = await db.selectFrom("policies").select("id")
    .where("nextAt", "<=", now).where("deletedAt", "is", null)
    .orderBy("nextAt").limit(ROUND).execute();
  return rows.map(({ id }) => id);
}

async function decidePolicy(
  tx: Transaction<Database>,
  { id, now }: { readonly id: PolicyId; readonly now: Temporal.Instant },
): Promise<number> {
  const policy = await lockPolicy(tx, id);
  const from = policy?.nextAt;
  // Another replica was faster, or the policy was changed meanwhile.
  if (!policy || !from || Temporal.Instant.compare(from, now) > 0) return 0;
  const { decisions, nextAt } = planDue(policy, { from, now });
  await recordSkipped(tx, { policyId: id, now }, decisions.filter(({ skipped }) => skipped));
  for (const decision of decisions.filter(({ skipped }) => !skipped)) {
    await openScheduled(tx, { policy, decision, now });
  }
  await setNextAt(tx, id, nextAt);
  return decisions.length;
}

async function openScheduled(
  tx: Transaction<Database>,
  { policy, decision, now }: {
    readonly policy: StoredPolicy;
    readonly decision: Decision;
    readonly now: Temporal.Instant;
  },
): Promise<void> {
  const { id: policyId } = policy;
  const opening = { ...decision, policyId, now, trigger: "schedule" } as const;
  const occurrenceId = await openOccurrence(tx, opening);
  if (occurrenceId) await shareAmongSites(tx, { occurrenceId, policyId }, policy);
}
