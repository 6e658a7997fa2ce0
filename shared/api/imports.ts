import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { CredentialId, DeviceId, ImportId, Instant, SiteId, TaskId, TenantId } from "../ids.ts";
import { FieldError } from "../problem.ts";
import { DeviceFields, Platform } from "./devices.ts";
import { BROKEN_TEXT, isWhole, listOf, Page, someOf, text } from "./page.ts";

/** How many rows one import may have. */
export const MOST_ROWS = 20_000;

/**
 * `csv` as the export writes it; `json`: a list of objects with the same names; `paste`: `address, user, password` in each
 * line; `oxidized`, `rancid`: the router.db of each.
 */
export const ImportFormat = z.enum(["csv", "json", "paste", "oxidized", "rancid"]).meta({
  id: "ImportFormat",
});
export type ImportFormat = z.infer<typeof ImportFormat>;

/** Where an import came from. */
export const ImportSource = z.enum([...ImportFormat.options, "netbox"]).meta({
  id: "ImportSource",
});
export type ImportSource = z.infer<typeof ImportSource>;

/** What stands in a column of Oxidized's router.db, in the words of its map and vars_map. */
export const OxidizedColumn = z.enum([
  "name",
  "ip",
  "model",
  "username",
  "password",
  "enable",
  "port",
  "ignore",
]).meta({ id: "OxidizedColumn" });
export type OxidizedColumn = z.infer<typeof OxidizedColumn>;

/** What an import would do, or has done, with a row. */
export const ImportAction = z.enum(["create", "change", "unchanged", "refused"])
  .meta({ id: "ImportAction" });
export type ImportAction = z.infer<typeof ImportAction>;

/**
 * What became of a row: `applied`; `left` as something came between preview and application; `undone`; `kept` where the
 * undo found it changed since.
 */
export const ImportOutcome = z.enum(["applied", "left", "undone", "kept"])
  .meta({ id: "ImportOutcome" });
export type ImportOutcome = z.infer<typeof ImportOutcome>;

/** `stopped`: its task was cancelled or has failed; what was done stays, and the order can be given again. */
export const ImportState = z.enum([
  "previewed",
  "applying",
  "applied",
  "undoing",
  "undone",
  "stopped",
]).meta({ id: "ImportState" });
export type ImportState = z.infer<typeof ImportState>;

/** The fields of a device that an import writes. */
const Written = z.object({
  name: DeviceFields.name,
  host: z.string(),
  port: z.int(),
  platform: z.string(),
  credentialId: CredentialId.nullable(),
  tags: z.array(z.string()),
});
export type ImportedDevice = z.infer<typeof Written>;

/** Some of them: those that change. */
export const ImportedFields = Written.partial().meta({ id: "ImportedFields" });
export type ImportedFields = z.infer<typeof ImportedFields>;

/** One row of a file: what would be done with it, and then what was. */
export const ImportRow = z.object({
  /** The line in the file, or the place in a JSON list, from 1. */
  row: z.int(),
  action: ImportAction,
  siteId: SiteId.nullable(),
  /** Null for what is not there yet. */
  deviceId: DeviceId.nullable(),
  /** Null where they are refused. */
  name: z.string().nullable(),
  host: z.string().nullable(),
  /** The fields that change, and all of a new device. */
  before: ImportedFields,
  after: ImportedFields,
  /** Why it is refused, by the column: `#/port`. */
  errors: z.array(FieldError),
  outcome: ImportOutcome.nullable(),
  outcomeDetail: z.string().nullable(),
}).meta({ id: "ImportRow" });
export type ImportRow = z.infer<typeof ImportRow>;

/** A file of devices that was read, what it would do, and what became of it. */
export const Import = z.object({
  id: ImportId,
  tenantId: TenantId,
  format: ImportSource,
  state: ImportState,
  /** Why it cannot be applied as it is. */
  brake: z.string().nullable(),
  createdAt: Instant,
  /** The task that applies or undoes it. */
  taskId: TaskId.nullable(),
  /** Columns of the file that mean nothing here. */
  ignoredColumns: z.array(z.string()),
  /** Credentials that the application makes, of logins in the file; each login once. */
  newCredentials: z.array(z.object({
    credentialId: CredentialId,
    name: z.string(),
    username: z.string(),
  })),
  /** How many rows there are of each kind … */
  actions: z.record(ImportAction, z.int()),
  /** … and how many came to which end so far. */
  outcomes: z.record(ImportOutcome, z.int()),
}).meta({ id: "Import" });
export type Import = z.infer<typeof Import>;

const ImportParams = z.strictObject({ importId: ImportId });

export const previewImport = endpoint({
  method: "POST",
  path: "/api/v1/imports",
  access: "devices:write",
  summary: "Read a file of devices and say, row by row, what it would do; no device is touched",
  description:
    "Columns, in any order: name, address, port, platform, site, tags, credential; GET /api/v1/inventory/csv writes them. A " +
    "CSV file may have commas, semicolons or tabs between them. A row is the device of its site with that address and port, " +
    "or else with that name; else it is a new one, which needs address, site and platform. An empty cell, and a field that " +
    "JSON leaves out, keeps what a device has. In a pasted list all after the second comma of a line is the password: it is " +
    "sealed at once, in a credential for each login, which takes credentials:write; so are logins of an Oxidized router.db. Of RANCID's, what is not up is " +
    "refused. The preview is applied by POST …/application, within a day",
  body: z.strictObject({
    format: ImportFormat,
    /** The text of the file. */
    text: z.string().min(1).max(4_000_000).refine(isWhole, BROKEN_TEXT)
      .regex(/^[^\0]*$/, "must be text without NUL")
      .refine((text) => text.split("\n").every((line) => line.length <= 20_000), {
        message: "must be lines of at most 20,000 characters",
      }).meta({ example: "address,site,platform\n192.0.2.1,Oslo,cisco_iosxe\n" }),
    /** Left out where there is only one tenant. */
    tenantId: TenantId.optional(),
    /** Of an Oxidized router.db, from its map: name and model where it is left out. */
    columns: z.array(OxidizedColumn).min(1).max(20).optional(),
    /** Of rows that name no site. */
    siteId: SiteId.optional(),
    /** Of new devices whose row names none. */
    platform: Platform.optional(),
    /** Of new devices whose row names none. */
    credentialId: CredentialId.optional(),
  }),
  reply: Import,
  status: 201,
  maxBodyBytes: 6 * 1_048_576,
});

/** Plain HTTP would show the token to everybody on the way. */
const NetboxUrl = z.url({ protocol: /^https?$/ }).max(500).refine(
  (url) => /^https:|^http:\/\/(127\.0\.0\.1|localhost|\[::1\])[:/]/.test(`${url}/`),
  "must begin with https:// unless it is on this machine",
).meta({ example: "https://netbox.example.com" });

export const previewNetbox = endpoint({
  method: "POST",
  path: "/api/v1/imports/netbox",
  access: "devices:write",
  summary:
    "Ask NetBox for its devices and say, row by row, what a sync would do; no device is touched",
  description:
    "For who may change the devices of all sites, as the control plane is sent to an address. Devices are created and " +
    "changed by their name, primary IP, platform and site, which is named alike in both; they get NetBox's tags beside " +
    "their own, and netbox. One with that tag that NetBox does not name any more gets netbox-vanished, and nothing else " +
    "happens to it; more than mostVanishedPercent of them at once is a brake, and the import cannot be applied. The " +
    "token is used for this and forgotten",
  body: z.strictObject({
    url: NetboxUrl,
    token: z.string().min(1).max(200).regex(/^[\x21-\x7e]+$/, "must be a token of NetBox")
      .meta({ format: "password", example: "0123456789abcdef" }),
    /** Filters of NetBox, as in a query; what they leave out seems to have vanished. Active devices by default. */
    filter: text(1_000).default("").meta({ example: "role=router" }),
    /** What NetBox's platforms are here, by their slugs. */
    platforms: z.record(z.string().regex(/^[-a-zA-Z0-9_]{1,100}$/, "must be a slug"), Platform)
      .default({}),
    mostVanishedPercent: z.int().min(0).max(100).default(10),
    /** Left out where there is only one tenant. */
    tenantId: TenantId.optional(),
    /** Of new devices whose platform NetBox does not say. */
    platform: Platform.optional(),
    /** Of new devices. */
    credentialId: CredentialId.optional(),
  }),
  reply: Import,
  status: 201,
});

export const listImports = endpoint({
  method: "GET",
  path: "/api/v1/imports",
  access: "devices:read",
  summary: "List imports, newest first: one's own, or all for who sees all sites",
  query: z.strictObject(Page.shape),
  reply: listOf(Import),
});

export const getImport = endpoint({
  method: "GET",
  path: "/api/v1/imports/:importId",
  access: "devices:read",
  summary: "Read how far an import is",
  params: ImportParams,
  reply: Import,
});

export const listImportRows = endpoint({
  method: "GET",
  path: "/api/v1/imports/:importId/rows",
  access: "devices:read",
  summary: "Read what an import does with each row, and why not",
  params: ImportParams,
  query: z.strictObject({
    ...Page.shape,
    action: someOf(ImportAction).optional()
      .describe("What is to be done with a row; several are divided by commas"),
    outcome: someOf(ImportOutcome).optional()
      .describe("What came of a row; several are divided by commas"),
  }),
  reply: listOf(ImportRow),
});

export const applyImport = endpoint({
  method: "POST",
  path: "/api/v1/imports/:importId/application",
  access: "devices:write",
  summary: "Do what the preview says, in a task; rows that something came between are left",
  params: ImportParams,
  reply: Import,
  status: 202,
});

export const undoImport = endpoint({
  method: "POST",
  path: "/api/v1/imports/:importId/undo",
  access: "devices:write",
  summary: "Take an import back, in a task, as far as nothing was changed since",
  description:
    "Devices that it made are deleted if they are as they were made and never had a job; fields that it changed are given " +
    "back if all of them still are as it left them. The others are kept, and outcomeDetail says why",
  params: ImportParams,
  reply: Import,
  status: 202,
});
