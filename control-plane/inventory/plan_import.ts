import type { Kysely } from "kysely";
import type { ImportFormat } from "@rookery/shared/api/imports.ts";
import type { CredentialId, ImportId, SiteId, TenantId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { reachOf, type UserCaller } from "../http/caller.ts";
import type { Scope } from "../permissions/scope.ts";
import { deleteOldImports, insertImport } from "./import_store.ts";
import { readKnownNames } from "./known_names.ts";
import { planRows } from "./plan_rows.ts";
import { readFile } from "./read_rows.ts";

export interface ImportOrder {
  readonly caller: UserCaller;
  readonly scope: Scope;
  readonly format: ImportFormat;
  readonly text: string;
  readonly tenantId?: TenantId | undefined;
  readonly siteId?: SiteId | undefined;
  readonly platform?: string | undefined;
  readonly credentialId?: CredentialId | undefined;
}

/** Reads a file and stores what it would do. */
export async function planImport(db: Kysely<Database>, order: ImportOrder): Promise<ImportId> {
  const { caller, scope, format, platform, credentialId, siteId } = order;
  const { rows: given, ignoredColumns } = readFile(order);
  const credentialScope = reachOf(caller, "credentials:read");
  const names = { scope, credentialScope, tenantId: order.tenantId, siteId, credentialId };
  const { tenantId, ...known } = await readKnownNames(db, names);
  const rows = await planRows(db, given, { scope, known, platform, credentialId });
  const siteIds = [...new Set(rows.map((row) => row.siteId).filter((id) => id !== null))];
  const id = newId<ImportId>();
  const values = { id, tenantId, format, siteIds, createdBy: caller.userId };
  await inTransaction(db, async (tx) => {
    await deleteOldImports(tx);
    await insertImport(tx, { ...values, ignoredColumns: [...ignoredColumns] }, rows);
  });
  return id;
}
