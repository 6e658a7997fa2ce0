import type { Kysely, Selectable } from "kysely";
import {
  createTenant,
  deleteTenant,
  getTenant,
  listTenants,
  updateTenant,
} from "@rookery/shared/api/tenants.ts";
import { TenantId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import { newId } from "../database/new_id.ts";
import type { Database, TenantsTable } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import type { Scope } from "../permissions/scope.ts";
import * as store from "./store.ts";

const DUPLICATES = { tenants_name: ["name", "another tenant has this name"] } as const;

/** A managed service provider's customers. */
export function mountTenants(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listTenants, async ({ query: { limit, cursor } }, { scope }) => {
    const after = readCursor(cursor, TenantId);
    const rows = await store.selectTenants(db, { scope, after, limit: limit + 1 });
    return pageOf(rows, limit, { item: tenantOf, position: (row) => row.id });
  });

  route(app, getTenant, async ({ params }, { scope }) => {
    return tenantOf(await readTenant(db, scope, params.tenantId));
  });

  route(app, createTenant, async ({ body: { name } }, context) => {
    const id = newId<TenantId>();
    const row = await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const target = { kind: "tenant", id };
        const detail = { name };
        await writeAudit(tx, { actor: actorOf(context), action: "tenant.create", target, detail });
        return await store.insertTenant(tx, { id, name });
      }));
    return tenantOf(row);
  });

  route(app, updateTenant, async ({ params: { tenantId: id }, body: { name } }, context) => {
    const before = await readTenant(db, context.scope, id);
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const detail = { before: { name: before.name }, after: { name } };
        const target = { kind: "tenant", id };
        await writeAudit(tx, { actor: actorOf(context), action: "tenant.update", target, detail });
        await store.renameTenant(tx, { id, name });
      }));
    return tenantOf(await readTenant(db, context.scope, id));
  });

  route(app, deleteTenant, async ({ params: { tenantId: id } }, context) => {
    await readTenant(db, context.scope, id);
    await refuseDuplicates({}, () =>
      inTransaction(db, async (tx) => {
        if (await store.lockTenants(tx) === 1) {
          throw new ProblemError("in-use", "This is the last tenant; make another one first.");
        }
        const target = { kind: "tenant", id };
        await writeAudit(tx, { actor: actorOf(context), action: "tenant.delete", target });
        await store.deleteTenant(tx, id);
      }));
  });
}

async function readTenant(db: Kysely<Database>, scope: Scope, tenantId: TenantId) {
  const [row] = await store.selectTenants(db, { scope, tenantId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such tenant.");
  return row;
}

function tenantOf(row: Selectable<TenantsTable>) {
  return { ...row, createdAt: row.createdAt.toString() };
}
