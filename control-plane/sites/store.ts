import { type Insertable, type Kysely, sql, type Transaction, type Updateable } from "kysely";
import type { SiteId, TenantId } from "@rookery/shared/ids.ts";
import type { Database, SitesTable } from "../database/schema.ts";
import { type Scope, whereVisible } from "../permissions/scope.ts";
import { inForce } from "../settings/in_force.ts";

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

/** What is not given is as the settings say. */
export function insertSite(db: Kysely<Database>, site: Insertable<SitesTable>) {
  return db.insertInto("sites").values({
    ...site,
    hostKeyPolicy: site.hostKeyPolicy ?? inForce("site_defaults.host_key_policy"),
    maxLive: site.maxLive ?? inForce("site_defaults.max_live"),
    maxQueued: site.maxQueued ?? inForce("site_defaults.max_queued"),
    leaseTtlSeconds: site.leaseTtlSeconds ?? inForce("site_defaults.lease_ttl_seconds"),
    shrinkPercent: site.shrinkPercent ?? inForce("site_defaults.shrink_percent"),
  }).returningAll().executeTakeFirstOrThrow();
}

export async function updateSite(
  db: Kysely<Database>,
  id: SiteId,
  change: Updateable<SitesTable>,
): Promise<void> {
  await db.updateTable("sites").set({ ...change, updatedAt: sql<Temporal.Instant>`now()` })
    .where("id", "=", id).execute();
}

/** The names of the agents that would be left without a word when the site goes. Locks the site against new ones. */
export async function lockServingAgents(tx: Transaction<Database>, id: SiteId): Promise<string[]> {
  await tx.selectFrom("sites").select("id").where("id", "=", id).forUpdate().execute();
  const rows = await tx.selectFrom("agentSites")
    .innerJoin("agents", "agents.id", "agentSites.agentId").select("agents.name")
    .where("agentSites.siteId", "=", id).where("agents.status", "<>", "revoked")
    .orderBy("agents.name").limit(10).execute();
  return rows.map((row) => row.name);
}

export async function deleteSite(db: Kysely<Database>, id: SiteId): Promise<void> {
  await db.deleteFrom("sites").where("id", "=", id).execute();
}
