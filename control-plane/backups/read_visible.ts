/** What the caller may see, or the refusal that says no more than that there is none. */
import type { Kysely } from "kysely";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import type { DeviceId, RevisionId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import {
  type RevisionRow,
  selectCurrentRevision,
  selectRevisions,
  selectVisibleDevice,
} from "./store.ts";

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

/** The revision that a device was seen with last, of its platform's first capture unless another is named. */
export async function readCurrentRevision(
  db: Kysely<Database>,
  { scope, deviceId, ...named }: {
    readonly scope: Scope;
    readonly deviceId: DeviceId;
    readonly capture: string | undefined;
  },
): Promise<RevisionRow> {
  const { platform } = await readDevice(db, { scope, deviceId });
  const capture = named.capture ?? findDriver(platform)?.captures[0]?.name ?? "";
  const revision = await selectCurrentRevision(db, { scope, deviceId, capture });
  if (!revision) {
    throw new ProblemError("not-found", `Of the capture ${capture} there is no configuration yet.`);
  }
  return revision;
}
