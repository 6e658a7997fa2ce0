import type { Kysely } from "kysely";
import type { CredentialId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import { type CredentialRow, selectCredentials } from "./store.ts";

/** The credential, if it is there for this caller; else `not-found`. */
export async function readCredential(
  db: Kysely<Database>,
  scope: Scope,
  credentialId: CredentialId,
): Promise<CredentialRow> {
  const [row] = await selectCredentials(db, { scope, credentialId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such credential.");
  return row;
}

/** A credential as the wire has it. */
export function credentialOf(row: CredentialRow) {
  return {
    ...row,
    stateSince: row.stateSince.toString(),
    lastSuccessAt: row.lastSuccessAt?.toString() ?? null,
    lastRefusedAt: row.lastRefusedAt?.toString() ?? null,
    createdAt: row.createdAt.toString(),
    updatedAt: row.updatedAt.toString(),
  };
}
