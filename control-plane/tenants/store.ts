import type { Kysely } from "kysely";
import type { TenantId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { type Scope, whereTenantVisible } from "../permissions/scope.ts";

export interface TenantSelection {
  readonly scope: Scope;
  readonly limit: number;
  readonly tenantId?: TenantId;
  readonly after?: TenantId | undefined;
}

export function selectTenants(db: Kysely<Database>, selection: TenantSelection) {
  const { after, tenantId, limit } = selection;
  return whereTenantVisible(db.selectFrom("tenants").selectAll(), "tenants.id", selection.scope)
    .$if(after !== undefined, (query) => query.where("id", ">", after as TenantId))
    .$if(tenantId !== undefined, (query) => query.where("id", "=", tenantId as TenantId))
    .orderBy("id").limit(limit).execute();
}

export function insertTenant(db: Kysely<Database>, tenant: { id: TenantId; name: string }) {
  return db.insertInto("tenants").values(tenant).returningAll().executeTakeFirstOrThrow();
}

export async function renameTenant(db: Kysely<Database>, tenant: { id: TenantId; name: string }) {
  await db.updateTable("tenants").set({ name: tenant.name }).where("id", "=", tenant.id).execute();
}

export async function deleteTenant(db: Kysely<Database>, tenantId: TenantId): Promise<void> {
  await db.deleteFrom("tenants").where("id", "=", tenantId).execute();
}

/** The tenant that was named, or the only one there is. Refuses an unknown one, and a choice left open. */
export async function chooseTenant(
  db: Kysely<Database>,
  { scope, tenantId }: { scope: Scope; tenantId: TenantId | undefined },
): Promise<TenantId> {
  const selection = tenantId === undefined ? {} : { tenantId };
  const [first, second] = await selectTenants(db, { scope, limit: 2, ...selection });
  if (first && !second) return first.id;
  const detail = tenantId === undefined ? "there are several tenants: name one" : "is no tenant";
  throw new ProblemError("validation", `#/tenantId: ${detail}`, {
    errors: [{ detail, pointer: "#/tenantId" }],
  });
}
