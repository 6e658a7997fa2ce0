import { type Insertable, type Kysely, sql, type Updateable } from "kysely";
import type { SiteId, TenantId } from "@rookery/shared/ids.ts";
import type { Database, SitesTable } from "../database/schema.ts";
import { type Scope, whereVisible } from "../permissions/scope.ts";

export interface SiteSelection {
  readonly scope: Scope;
  readonly limit: number;
  readonly siteId?: SiteId;
  readonly tenantId?: TenantId | undefined;
  readonly after?: SiteId | undefined;
}

export function selectSites(db: Kysely<Database>, selection: SiteSelection) {
  const { after, siteId, tenantId, limit } = selection;
  return whereVisible(db.selectFrom("sites").selectAll(), "sites.id", selection.scope)
    .$if(after !== undefined, (query) => query.where("id", ">", after as SiteId))
    .$if(siteId !== undefined, (query) => query.where("id", "=", siteId as SiteId))
    .$if(tenantId !== undefined, (query) => query.where("tenantId", "=", tenantId as TenantId))
    .orderBy("id").limit(limit).execute();
}

export function insertSite(db: Kysely<Database>, site: Insertable<SitesTable>) {
  return db.insertInto("sites").values(site).returningAll().executeTakeFirstOrThrow();
}

export async function updateSite(
  db: Kysely<Database>,
  id: SiteId,
  change: Updateable<SitesTable>,
): Promise<void> {
  await db.updateTable("sites").set({ ...change, updatedAt: sql<Temporal.Instant>`now()` })
    .where("id", "=", id).execute();
}

export async function deleteSite(db: Kysely<Database>, id: SiteId): Promise<void> {
  await db.deleteFrom("sites").where("id", "=", id).execute();
}
