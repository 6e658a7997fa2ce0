import type { Kysely } from "kysely";
import { exportInventory } from "@rookery/shared/api/inventory.ts";
import type { Database } from "../database/schema.ts";
import type { App } from "../http/app_type.ts";
import { reachOf } from "../http/caller.ts";
import { route } from "../http/route.ts";
import { chooseTenant } from "../tenants/store.ts";
import { streamCsv } from "./export_devices.ts";

/** The inventory as a table. */
export function mountInventoryExport(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, exportInventory, async ({ query }, { scope, caller, setHeader }) => {
    const tenantId = await chooseTenant(db, { scope, tenantId: query.tenantId, place: "?" });
    setHeader("Content-Disposition", 'attachment; filename="inventory.csv"');
    const credentialScope = reachOf(caller, "credentials:read");
    return streamCsv(db, { ...query, tenantId, scope, credentialScope });
  });
}
