import { type Kysely, sql } from "kysely";
import { INVENTORY_COLUMNS, type InventoryColumn } from "@rookery/shared/api/inventory.ts";
import type { CredentialId, DeviceId, SiteId, TenantId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { type DeviceRow, type DeviceSelection, selectDevices } from "../devices/store.ts";
import { isTenantVisible, type Scope, whereVisible } from "../permissions/scope.ts";
import { writeCsv, writeTags } from "./csv.ts";

const PAGE = 500;

export interface ExportOrder extends Omit<DeviceSelection, "limit" | "after"> {
  readonly tenantId: TenantId;
  /** Of whom credentials are named. */
  readonly credentialScope: Scope;
}

/** The devices as CSV, a page read for each piece that is taken: an export of any size holds one page in memory. */
export function streamCsv(
  db: Kysely<Database>,
  order: ExportOrder,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return ReadableStream.from(writePages(db, order));
}

async function* writePages(
  db: Kysely<Database>,
  order: ExportOrder,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { credentialScope, ...selection } = order;
  const names = await readNames(db, order, credentialScope);
  const encoder = new TextEncoder();
  yield encoder.encode(writeCsv([INVENTORY_COLUMNS]));
  let after: DeviceId | undefined;
  do {
    const rows = await selectDevices(db, { ...selection, archived: false, after, limit: PAGE });
    if (rows.length > 0) yield encoder.encode(writeCsv(rows.map((row) => lineOf(row, names))));
    after = rows.length === PAGE ? rows.at(-1)?.id : undefined;
  } while (after !== undefined);
}

interface Names {
  readonly sites: ReadonlyMap<SiteId, string>;
  readonly credentials: ReadonlyMap<CredentialId, string>;
}

/** The names of what devices of the tenant refer to, as far as each may be seen. */
async function readNames(
  db: Kysely<Database>,
  { tenantId, scope }: Pick<ExportOrder, "tenantId" | "scope">,
  credentialScope: Scope,
): Promise<Names> {
  const sites = await whereVisible(db.selectFrom("sites").select(["id", "name"]), "id", scope)
    .where("tenantId", "=", tenantId).execute();
  const { rows } = await sql<{ id: CredentialId; name: string }>`
    select c.id, c.name from credentials c
    where c.tenant_id = ${tenantId} and ${isTenantVisible("c.tenant_id", credentialScope)}`
    .execute(db);
  return {
    sites: new Map(sites.map(({ id, name }) => [id, name])),
    credentials: new Map(rows.map(({ id, name }) => [id, name])),
  };
}

function lineOf(row: DeviceRow, { sites, credentials }: Names): string[] {
  const cells = {
    name: row.name,
    address: row.host,
    port: String(row.port),
    platform: row.platform,
    site: sites.get(row.siteId) ?? "",
    tags: writeTags(row.tags),
    credential: row.credentialId === null ? "" : credentials.get(row.credentialId) ?? "",
  } satisfies Record<InventoryColumn, string>;
  return INVENTORY_COLUMNS.map((column) => cells[column]);
}
