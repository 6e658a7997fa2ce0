import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant, Sha256, SiteId } from "../ids.ts";
import { listOf, Page, text } from "./page.ts";
import { Task } from "./tasks.ts";

const ActorKind = z.enum(["user", "api_token", "agent", "system"]);

/** One change of state: who, what, from where. */
export const AuditRow = z.object({
  id: z.uuid(),
  at: Instant,
  actorKind: ActorKind,
  actorId: z.uuid().nullable(),
  actorName: z.string(),
  action: z.string(),
  targetKind: z.string(),
  targetId: z.string(),
  siteId: SiteId.nullable(),
  address: z.string(),
  requestId: z.string(),
  /** What was changed, often as `before` and `after`; never a secret. */
  detail: z.record(z.string(), z.unknown()),
}).meta({ id: "AuditRow" });
export type AuditRow = z.infer<typeof AuditRow>;

/** The columns of the audit log as a table. */
export const AUDIT_COLUMNS = [
  ...["at", "actorKind", "actorName", "actorId", "action", "targetKind", "targetId"] as const,
  ...["siteId", "address", "requestId", "detail", "id"] as const,
] as const satisfies readonly (keyof AuditRow)[];

/** Which rows; all that is given must be so. */
export const AuditFilter = z.strictObject({
  actorKind: ActorKind.optional()
    .describe("Who did it: a person, an API token, an agent or the system"),
  actorId: z.uuid().optional()
    .describe("The id of who did it"),
  actorName: text(300).meta({ example: "anna" }).optional()
    .describe("A user's name, `user/token`, or an agent's name; in any case"),
  action: text(100).meta({ example: "device.update" }).optional()
    .describe("What was done"),
  targetKind: text(100).meta({ example: "device" }).optional()
    .describe("What kind of thing it was done to"),
  targetId: text(100).meta({ example: "0199c0de-0000-7000-8000-000000000000" }).optional()
    .describe("The id of what it was done to"),
  siteId: SiteId.optional(),
  address: text(100).meta({ example: "192.0.2.10" }).optional()
    .describe("The address that it came from"),
  requestId: text(100).meta({ example: "0199c0de-0000-7000-8000-000000000000" }).optional()
    .describe("The id of the request"),
  text: text(200).min(3, "must have at least 3 characters").meta({ example: "core-1" })
    .optional()
    .describe("A part of the name, the action, the target, the address or the detail; in any case"),
  from: Instant.optional()
    .describe("From this time on"),
  until: Instant.optional()
    .describe("Before this time"),
});
export type AuditFilter = z.infer<typeof AuditFilter>;

export const listAuditRows = endpoint({
  method: "GET",
  path: "/api/v1/audit",
  access: "audit:read",
  summary: "List what was changed, newest first",
  query: z.strictObject({ ...Page.shape, ...AuditFilter.shape }),
  reply: listOf(AuditRow),
});

const EXPORTED =
  "Oldest first, in the order in which the changes were committed. What was changed while another change was still under " +
  "way is there as soon as that one has ended";

export const exportAuditLines = endpoint({
  method: "GET",
  path: "/api/v1/audit/ndjson",
  access: "audit:read",
  summary: "Export the audit log as lines of JSON, one for each row",
  description: EXPORTED,
  query: AuditFilter,
  replyAs: "bytes",
  replyType: "application/x-ndjson",
});

export const exportAuditTable = endpoint({
  method: "GET",
  path: "/api/v1/audit/csv",
  access: "audit:read",
  summary: "Export the audit log as CSV, its details as JSON",
  description: `${EXPORTED}. A cell that a spreadsheet would take for a formula has a ' before it`,
  query: AuditFilter,
  replyAs: "bytes",
  replyType: "text/csv",
});

/** The newest sealed segment of the audit log. */
export const AuditHead = z.object({
  number: z.int().min(1),
  sealedAt: Instant,
  /** Of `signature`. */
  sha256: Sha256,
  /** A JWS by the control plane: what a verification is shown later. */
  signature: z.string(),
}).meta({ id: "AuditHead" });
export type AuditHead = z.infer<typeof AuditHead>;

export const getAuditHead = endpoint({
  method: "GET",
  path: "/api/v1/audit/head",
  access: "audit:read",
  summary: "Read the newest sealed segment, to be kept where the database is not",
  description:
    "A verification that is shown it finds that everything after some segment was cut off",
  /** Null while nothing is sealed yet. */
  reply: z.object({ head: AuditHead.nullable() }),
});

export const orderAuditVerification = endpoint({
  method: "POST",
  path: "/api/v1/audit/verifications",
  access: "audit:read",
  summary: "Order a task that holds the audit log against its sealed segments",
  description:
    "It fails when rows were altered, removed, inserted or put into another order, or segments replaced; the task's log " +
    "names each segment and row, and says how many of the newest rows are not sealed yet",
  body: z.strictObject({
    /** The `signature` of a head that was read before. */
    head: z.string().max(10_000).regex(/^[\w-]+\.[\w-]+\.[\w-]+$/, "must be a signature of a head")
      .meta({ example: "eyJhbGciOiJFZDI1NTE5In0.e30.c2lnbmF0dXJl" }).optional(),
  }),
  reply: Task,
  status: 201,
});
