import type { Kysely, Selectable } from "kysely";
import {
  createSite,
  deleteSite,
  getSite,
  listSites,
  updateSite,
} from "@rookery/shared/api/sites.ts";
import { SiteId, type TenantId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { changedFields, given } from "../audit/changed_fields.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import { newId } from "../database/new_id.ts";
import type { Database, SitesTable } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { reachesTenant, type Scope } from "../permissions/scope.ts";
import { chooseTenant } from "../tenants/store.ts";
import * as store from "./store.ts";

const DUPLICATES = { sites_name: ["name", "another site of the tenant has this name"] } as const;

/** Sites and their settings. */
export function mountSites(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listSites, async ({ query: { limit, cursor, tenantId } }, { scope }) => {
    const after = readCursor(cursor, SiteId);
    const rows = await store.selectSites(db, { scope, after, tenantId, limit: limit + 1 });
    return pageOf(rows, limit, { item: siteOf, position: (row) => row.id });
  });

  route(app, getSite, async ({ params }, { scope }) => {
    return siteOf(await readSite(db, scope, params.siteId));
  });

  route(app, createSite, async ({ body }, context) => {
    const id = newId<SiteId>();
    const row = await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const { scope } = context;
        const tenantId = await chooseTenant(tx, { scope, tenantId: body.tenantId });
        refuseForeignTenant(scope, tenantId);
        const site = await store.insertSite(tx, { ...body, id, tenantId });
        const entry = { action: "site.create", target: { kind: "site", id }, siteId: id };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail: body });
        return site;
      }));
    return siteOf(row);
  });

  route(app, updateSite, async ({ params: { siteId: id }, body }, context) => {
    const before = siteOf(await readSite(db, context.scope, id));
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        await store.updateSite(tx, id, given(body));
        const entry = { action: "site.update", target: { kind: "site", id }, siteId: id };
        const detail = changedFields(before, body);
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail });
      }));
    return siteOf(await readSite(db, context.scope, id));
  });

  route(app, deleteSite, async ({ params: { siteId: id } }, context) => {
    await readSite(db, context.scope, id);
    await refuseDuplicates({}, () =>
      inTransaction(db, async (tx) => {
        refuseServed(await store.lockServingAgents(tx, id));
        await store.deleteSite(tx, id);
        const target = { kind: "site", id };
        await writeAudit(tx, { actor: actorOf(context), action: "site.delete", target });
      }));
  });
}

/** Whoever may change some sites of a tenant would not even see the one that they make. */
function refuseForeignTenant(scope: Scope, tenantId: TenantId): void {
  if (reachesTenant(scope, tenantId)) return;
  throw new ProblemError(
    "forbidden",
    "Sites are made by who has sites:write for the whole tenant.",
  );
}

/** An agent without a site would go on running and hold its keys, with nobody to think of it. */
function refuseServed(agents: readonly string[]): void {
  if (agents.length === 0) return;
  throw new ProblemError(
    "in-use",
    `These agents serve the site: ${agents.join(", ")}. Revoke them before you delete it.`,
  );
}

async function readSite(db: Kysely<Database>, scope: Scope, siteId: SiteId) {
  const [row] = await store.selectSites(db, { scope, siteId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such site.");
  return row;
}

function siteOf(row: Selectable<SitesTable>) {
  return { ...row, createdAt: row.createdAt.toString(), updatedAt: row.updatedAt.toString() };
}
