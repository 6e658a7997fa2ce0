/** What the caller may see, or the refusal that says no more than that there is none. */
import type { Kysely } from "kysely";
import type { DeviceId, RevisionId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import { type RevisionRow, selectRevisions, selectVisibleDevice } from "./store.ts";

export async function readDevice(
  db: Kysely<Database>,
  of: { readonly scope: Scope; readonly deviceId: DeviceId },
) {
  const device = await selectVisibleDevice(db, of);
  if (!device) throw new ProblemError("not-found", "There is no such device.");
  return device;
}

export async function readRevision(
  db: Kysely<Database>,
  { scope, revisionId }: { readonly scope: Scope; readonly revisionId: RevisionId },
): Promise<RevisionRow> {
  const [revision] = await selectRevisions(db, { scope, ids: [revisionId], limit: 1 });
  if (!revision) throw new ProblemError("not-found", "There is no such revision.");
  return revision;
}
