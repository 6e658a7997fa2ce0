import type { Kysely } from "kysely";
import type { PolicyId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import { type PolicyRow, type selectOccurrences, selectPolicies } from "./store.ts";

/** A policy that the caller may see, or `not-found`. */
export async function readPolicy(
  db: Kysely<Database>,
  scope: Scope,
  policyId: PolicyId,
): Promise<PolicyRow> {
  const [row] = await selectPolicies(db, { scope, policyIds: [policyId], limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such policy.");
  return row;
}

/** A policy as the API shows it. */
export function policyOf(row: PolicyRow) {
  return {
    ...row,
    payload: row.payload as Record<string, unknown>,
    nextAt: row.enabled ? row.nextAt?.toString() ?? null : null,
    createdAt: row.createdAt.toString(),
    updatedAt: row.updatedAt.toString(),
  };
}

/** A line of the ledger as the API shows it. */
export function occurrenceOf(row: Awaited<ReturnType<typeof selectOccurrences>>[number]) {
  return { ...row, at: row.at.toString(), decidedAt: row.decidedAt.toString() };
}
