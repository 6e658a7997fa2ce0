import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { DeviceId, RoleId, SiteId, UserId } from "../ids.ts";
import { Permission } from "./access.ts";
import { listOf, Page } from "./page.ts";

/** A person who may do something at a site. */
export const Viewer = z.object({
  userId: UserId,
  username: z.string(),
  displayName: z.string(),
  administrator: z.boolean(),
  roleIds: z.array(RoleId),
  /** What the person may do there. */
  permissions: z.array(Permission),
}).meta({ id: "Viewer" });
export type Viewer = z.infer<typeof Viewer>;

export const listSiteViewers = endpoint({
  method: "GET",
  path: "/api/v1/sites/:siteId/viewers",
  access: "users:read",
  summary: "List who may see a site or do something there; disabled users may not",
  params: z.strictObject({ siteId: SiteId }),
  query: Page,
  reply: listOf(Viewer),
});

export const listDeviceViewers = endpoint({
  method: "GET",
  path: "/api/v1/devices/:deviceId/viewers",
  access: "users:read",
  summary: "List who may see a device or do something with it; disabled users may not",
  params: z.strictObject({ deviceId: DeviceId }),
  query: Page,
  reply: listOf(Viewer),
});
