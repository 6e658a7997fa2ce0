import type { Kysely } from "kysely";
import type { ImportFormat, OxidizedColumn } from "@rookery/shared/api/imports.ts";
import type { CredentialId, ImportId, SiteId, TenantId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { reachOf, type UserCaller } from "../http/caller.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { reachesTenant, type Scope } from "../permissions/scope.ts";
import { insertImport } from "./import_store.ts";
import { readKnownNames } from "./known_names.ts";
import { planRows } from "./plan_rows.ts";
import { readFile } from "./read_rows.ts";
import { insertSecrets, nameLogins, neededLogins, sealLogins } from "./seal_logins.ts";

export interface ImportServices {
  readonly db: Kysely<Database>;
  readonly keyRing: KeyRing;
}

export interface ImportOrder {
  readonly caller: UserCaller;
  readonly scope: Scope;
  readonly format: ImportFormat;
  readonly text: string;
  readonly columns?: readonly OxidizedColumn[] | undefined;
  readonly tenantId?: TenantId | undefined;
  readonly siteId?: SiteId | undefined;
  readonly platform?: string | undefined;
  readonly credentialId?: CredentialId | undefined;
}

/** Reads a file and stores what it would do. */
export async function planImport(
  { db, keyRing }: ImportServices,
  order: ImportOrder,
): Promise<ImportId> {
  const { caller, scope, format, platform, credentialId, siteId } = order;
  const { rows: given, ignoredColumns } = readFile(order);
  const credentialScope = reachOf(caller, "credentials:read");
  const names = { scope, credentialScope, tenantId: order.tenantId, siteId, credentialId };
  const { tenantId, ...known } = await readKnownNames(db, names);
  const id = newId<ImportId>();
  const logins = nameLogins(given, id);
  if (logins.size > 0) refuseWithoutCredentials(caller, tenantId);
  const plan = { scope, known: { ...known, logins }, platform, credentialId };
  const rows = await planRows(db, given, plan);
  const needed = neededLogins(rows, logins);
  const sealed = await sealLogins(keyRing, needed);
  const newCredentials = sealed.map(({ credentialId, name, username }) => {
    return { credentialId, name, username };
  });
  const values = { id, tenantId, format, createdBy: caller.userId };
  const more = { ignoredColumns: [...ignoredColumns], newCredentials };
  await inTransaction(db, async (tx) => {
    await insertImport(tx, { ...values, ...more }, rows);
    await insertSecrets(tx, id, sealed);
  });
  return id;
}

/** Whoever makes devices may use what credentials there are, but not bring new ones in by the back door. */
function refuseWithoutCredentials(caller: UserCaller, tenantId: TenantId): void {
  if (reachesTenant(reachOf(caller, "credentials:write"), tenantId)) return;
  throw new ProblemError(
    "forbidden",
    "A file with logins makes credentials: it takes credentials:write for the tenant.",
  );
}
