import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { SiteId, TenantId } from "../ids.ts";
import { text } from "./page.ts";
import { TagExpression } from "./tag_expression.ts";

/** The columns of the inventory as a table, written by the export and read by the import. */
export const INVENTORY_COLUMNS = [
  "name",
  "address",
  "port",
  "platform",
  "site",
  "tags",
  "credential",
] as const;
export type InventoryColumn = (typeof INVENTORY_COLUMNS)[number];

export const exportInventory = endpoint({
  method: "GET",
  path: "/api/v1/inventory/csv",
  access: "devices:read",
  summary: "Export the devices in use as CSV, in the columns that an import takes",
  description:
    "UTF-8 with a header line, RFC 4180: name, address, port, platform, site, tags, credential. Sites and credentials are " +
    "named, within one tenant; the credential's name is there for who may read credentials. Tags have commas between them; " +
    "one with a comma in it stands in quotation marks. A cell that a spreadsheet would take for a formula (it begins with " +
    "=, +, -, @, a tab or a carriage return) has a ' before it, which an import takes away again",
  query: z.strictObject({
    /** Left out where there is only one tenant. */
    tenantId: TenantId.optional(),
    siteId: SiteId.optional(),
    platform: text(40).meta({ example: "cisco_iosxe" }).optional()
      .describe("Only of this platform"),
    tags: TagExpression.optional()
      .describe("Only of devices whose tags fit this expression"),
  }),
  replyAs: "bytes",
  replyType: "text/csv",
});
