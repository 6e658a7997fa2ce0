import { type Kysely, sql } from "kysely";
import type { CredentialId, SiteId, TenantId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { isTenantVisible, type Scope, whereVisible } from "../permissions/scope.ts";
import { chooseTenant } from "../tenants/store.ts";
import type { KnownNames } from "./check_row.ts";

export interface NameOrder {
  readonly scope: Scope;
  /** Of whom credentials may be named. */
  readonly credentialScope: Scope;
  readonly tenantId: TenantId | undefined;
  readonly siteId: SiteId | undefined;
  readonly credentialId: CredentialId | undefined;
}

/** The tenant of an import, and what its rows may name. Refuses what the order itself names and may not. */
export async function readKnownNames(
  db: Kysely<Database>,
  order: NameOrder,
): Promise<KnownNames & { readonly tenantId: TenantId }> {
  const { scope, credentialScope, siteId, credentialId } = order;
  const tenantId = await tenantOf(db, order);
  const sites = await whereVisible(db.selectFrom("sites").select(["id", "name"]), "id", scope)
    .where("tenantId", "=", tenantId).execute();
  if (siteId !== undefined && !sites.some(({ id }) => id === siteId)) {
    throw refused("siteId", "is no site of the tenant");
  }
  const { rows: credentials } = await sql<{ id: CredentialId; name: string; named: boolean }>`
    select id, name, ${isTenantVisible("tenant_id", credentialScope)} as named
    from credentials where tenant_id = ${tenantId}`.execute(db);
  if (credentialId !== undefined && !credentials.some(({ id }) => id === credentialId)) {
    throw refused("credentialId", "is no credential of the tenant");
  }
  return {
    tenantId,
    siteId,
    sites: new Map(sites.map(({ id, name }) => [name.toLowerCase(), id])),
    credentials: new Map(
      credentials.filter(({ named }) => named).map(({ id, name }) => [name.toLowerCase(), id]),
    ),
  };
}

/** The tenant that is named, or that of the site that is, or the only one. */
async function tenantOf(
  db: Kysely<Database>,
  { scope, tenantId, siteId }: NameOrder,
): Promise<TenantId> {
  const site = siteId === undefined || tenantId !== undefined
    ? undefined
    : await whereVisible(db.selectFrom("sites").select("tenantId"), "id", scope)
      .where("id", "=", siteId).executeTakeFirst();
  if (siteId !== undefined && tenantId === undefined && !site) {
    throw refused("siteId", "is no site");
  }
  return await chooseTenant(db, { scope, tenantId: tenantId ?? site?.tenantId });
}

function refused(field: string, detail: string): ProblemError {
  return refusedField(`#/${field}`, detail);
}
