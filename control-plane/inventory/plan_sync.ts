import type { CredentialId, ImportId, TenantId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { newId } from "../database/new_id.ts";
import { inTransaction } from "../database/transaction.ts";
import { EVERYTHING, type UserCaller } from "../http/caller.ts";
import type { Scope } from "../permissions/scope.ts";
import { askNetbox, type NetboxOrder } from "./ask_netbox.ts";
import { insertImport } from "./import_store.ts";
import { readKnownNames } from "./known_names.ts";
import { markVanished } from "./mark_vanished.ts";
import type { ImportServices } from "./plan_import.ts";
import { planRows } from "./plan_rows.ts";
import { readNetbox } from "./read_netbox.ts";

export interface SyncOrder extends NetboxOrder {
  readonly caller: UserCaller;
  readonly scope: Scope;
  readonly platforms: Readonly<Record<string, string>>;
  readonly mostVanishedPercent: number;
  readonly tenantId?: TenantId | undefined;
  readonly platform?: string | undefined;
  readonly credentialId?: CredentialId | undefined;
}

/** Asks NetBox and stores what a sync would do: an import like any other. */
export async function planSync({ db }: ImportServices, order: SyncOrder): Promise<ImportId> {
  const { caller, scope, platform, credentialId, mostVanishedPercent: mostPercent } = order;
  const { tenantId, ...known } = await readKnownNames(db, {
    scope,
    // No row of NetBox names a credential.
    credentialScope: EVERYTHING,
    tenantId: order.tenantId,
    siteId: undefined,
    credentialId,
  });
  const given = readNetbox(await askNetbox(order), order.platforms);
  if (given.length === 0) throw nothing();
  const rows = await planRows(db, given, { scope, known, platform, credentialId });
  const vanishing = await markVanished(db, rows, { scope, mostPercent });
  const all = [...rows, ...vanishing.rows];
  const id = newId<ImportId>();
  const { brake } = vanishing;
  const values = { id, tenantId, format: "netbox", createdBy: caller.userId, brake };
  await inTransaction(db, async (tx) => {
    await insertImport(tx, values, all);
  });
  return id;
}

/** An empty answer is an error of a filter or of a permission of the token far more often than the truth. */
function nothing(): ProblemError {
  const detail = "NetBox shows no device to this token with this filter";
  return refusedField("#/filter", detail);
}
