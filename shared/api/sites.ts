import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant, SiteId, TenantId } from "../ids.ts";
import { HostKeyPolicy } from "../jobs/lease.ts";
import { TimeZone } from "../schedules/time_zone.ts";
import { listOf, Name, Page } from "./page.ts";

/** What may be written of a site. */
export const SiteFields = {
  name: Name,
  timeZone: TimeZone,
  hostKeyPolicy: HostKeyPolicy,
  /** Device sessions at the same time. */
  maxLive: z.int().min(1).max(1_000),
  maxQueued: z.int().min(1).max(1_000_000),
  leaseTtlSeconds: z.int().min(30).max(1_800),
  /** A configuration that lost more than this share of its size is read again, then quarantined. */
  shrinkPercent: z.int().min(1).max(100),
  paused: z.boolean(),
  /** Sessions that may start in a minute, for the sake of the servers that check logins (AAA); null: any number. */
  startsPerMinute: z.int().min(1).max(10_000).nullable(),
};

/** A place with devices: the zone in which an address is unique. */
export const Site = z.object({
  id: SiteId,
  tenantId: TenantId,
  ...SiteFields,
  /** In force in place of `maxLive` while devices of the site time out; null: `maxLive` is. */
  liveLimit: z.int().nullable(),
  createdAt: Instant,
  updatedAt: Instant,
}).meta({ id: "Site" });
export type Site = z.infer<typeof Site>;

const SiteParams = z.strictObject({ siteId: SiteId });

export const listSites = endpoint({
  method: "GET",
  path: "/api/v1/sites",
  access: "sites:read",
  summary: "List sites",
  query: z.strictObject({ ...Page.shape, tenantId: TenantId.optional() }),
  reply: listOf(Site),
});

export const createSite = endpoint({
  method: "POST",
  path: "/api/v1/sites",
  access: "sites:write",
  summary: "Create a site",
  description: "What is left out is as the settings of the category site_defaults say.",
  body: z.strictObject({
    name: Name,
    /** Left out where there is only one tenant. */
    tenantId: TenantId.optional(),
    timeZone: SiteFields.timeZone.default("UTC"),
    hostKeyPolicy: SiteFields.hostKeyPolicy.optional(),
    maxLive: SiteFields.maxLive.optional(),
    maxQueued: SiteFields.maxQueued.optional(),
    leaseTtlSeconds: SiteFields.leaseTtlSeconds.optional(),
    shrinkPercent: SiteFields.shrinkPercent.optional(),
    paused: SiteFields.paused.default(false),
    startsPerMinute: SiteFields.startsPerMinute.default(null),
  }),
  reply: Site,
  status: 201,
});

export const getSite = endpoint({
  method: "GET",
  path: "/api/v1/sites/:siteId",
  access: "sites:read",
  summary: "Read one site",
  params: SiteParams,
  reply: Site,
});

export const updateSite = endpoint({
  method: "PATCH",
  path: "/api/v1/sites/:siteId",
  access: "sites:write",
  summary: "Change a site",
  params: SiteParams,
  body: z.strictObject(SiteFields).partial(),
  reply: Site,
});

export const deleteSite = endpoint({
  method: "DELETE",
  path: "/api/v1/sites/:siteId",
  access: "sites:write",
  summary: "Delete a site that never had a device",
  params: SiteParams,
});
