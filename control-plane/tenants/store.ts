import type { Kysely, Transaction } from "kysely";
import type { TenantId } from "@rookery/shared/ids.ts";
import { refusedField } from "@rookery/shared/problem.ts";
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

/** Locks the tenants, so that two deletions cannot each leave the other's as the last; tells how many there are. */
export async function lockTenants(tx: Transaction<Database>): Promise<number> {
  const rows = await tx.selectFrom("tenants").select("id").orderBy("id").forUpdate().execute();
  return rows.length;
}

/** Deletes a tenant, with what of it can never work again: its join tokens and revoked agents. */
export async function deleteTenant(tx: Transaction<Database>, tenantId: TenantId): Promise<void> {
  await tx.deleteFrom("joinTokens").where("tenantId", "=", tenantId).execute();
  await tx.deleteFrom("agents").where("tenantId", "=", tenantId).where("status", "=", "revoked")
    .execute();
  await tx.deleteFrom("tenants").where("id", "=", tenantId).execute();
}

/** The tenant that was named, or the only one there is. Refuses an unknown one, and a choice left open. */
export async function chooseTenant(
  db: Kysely<Database>,
  { scope, tenantId, place = "#/" }: {
    scope: Scope;
    tenantId: TenantId | undefined;
    /** Where it was asked for: in the body, or (`?`) in the query. */
    place?: "#/" | "?";
  },
): Promise<TenantId> {
  const selection = tenantId === undefined ? {} : { tenantId };
  const [first, second] = await selectTenants(db, { scope, limit: 2, ...selection });
  if (first && !second) return first.id;
  const detail = tenantId !== undefined
    ? "is no tenant"
    : second
    ? "there are several tenants: name one"
    : "there is no tenant that you may use";
  const pointer = `${place}tenantId`;
  throw refusedField(pointer, detail);
}
