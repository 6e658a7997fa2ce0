import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant, SiteId } from "../ids.ts";
import { listOf, Page, text } from "./page.ts";

/** One change of state: who, what, from where. */
export const AuditRow = z.object({
  id: z.uuid(),
  at: Instant,
  actorKind: z.enum(["user", "api_token", "agent", "system"]),
  actorId: z.uuid().nullable(),
  actorName: z.string(),
  action: z.string(),
  targetKind: z.string(),
  targetId: z.string(),
  siteId: SiteId.nullable(),
  address: z.string(),
  requestId: z.string(),
  detail: z.record(z.string(), z.unknown()),
}).meta({ id: "AuditRow" });
export type AuditRow = z.infer<typeof AuditRow>;

export const listAuditRows = endpoint({
  method: "GET",
  path: "/api/v1/audit",
  access: "audit:read",
  summary: "List what was changed, newest first",
  query: z.strictObject({
    ...Page.shape,
    action: text(100).meta({ example: "device.update" }).optional(),
    targetId: text(100).meta({ example: "0199c0de-0000-7000-8000-000000000000" }).optional(),
  }),
  reply: listOf(AuditRow),
});
