import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant, PermissionId, SiteId, TenantId } from "../ids.ts";
import { Action, Permission } from "./access.ts";
import { listOf, Name, Page, text } from "./page.ts";

/** What roles and permissions are for, in the words of whoever made them. */
export const Description = text(1_000).meta({ example: "The night shift of the Oslo sites" });

const TAGS = "permissions cannot be narrowed to tags: name tenantIds, siteIds or both";

/** Where a permission holds: at these sites, and at all sites of these tenants, those to come as well. */
export const Selector = z.strictObject({
  tenantIds: z.array(TenantId).max(1_000).default([]),
  siteIds: z.array(SiteId).max(1_000).default([]),
}, {
  // Said by name: whoever believes that a tag narrows a permission must not get one that is not narrowed.
  error: (issue) =>
    issue.code === "unrecognized_keys" && issue.keys.includes("tags") ? TAGS : undefined,
}).refine(
  ({ tenantIds, siteIds }) => tenantIds.length + siteIds.length > 0,
  "must name at least one tenant or site; null stands for everywhere",
).meta({ id: "Selector" });
export type Selector = z.infer<typeof Selector>;

/** A permission as roles are made of it: what it allows, and where. */
export const PermissionRow = z.object({
  id: PermissionId,
  name: z.string(),
  description: z.string(),
  actions: z.array(z.string()),
  /** Null: everywhere. */
  selector: z.object({ tenantIds: z.array(TenantId), siteIds: z.array(SiteId) }).nullable(),
  /** Came with the installation and stays as it is. */
  builtIn: z.boolean(),
  createdAt: Instant,
}).meta({ id: "PermissionRow" });
export type PermissionRow = z.infer<typeof PermissionRow>;

const PermissionFields = {
  name: Name,
  description: Description,
  actions: z.array(Action).min(1).max(100),
  selector: Selector.nullable(),
};

const PermissionParams = z.strictObject({ permissionId: PermissionId });

export const listPermissions = endpoint({
  method: "GET",
  path: "/api/v1/permissions",
  access: "roles:read",
  summary: "List the permissions that roles are made of",
  query: Page,
  reply: listOf(PermissionRow),
});

export const getPermission = endpoint({
  method: "GET",
  path: "/api/v1/permissions/:permissionId",
  access: "roles:read",
  summary: "Read one permission",
  params: PermissionParams,
  reply: PermissionRow,
});

export const createPermission = endpoint({
  method: "POST",
  path: "/api/v1/permissions",
  access: "roles:write",
  summary: "Create a permission, of no more than one may do oneself",
  body: z.strictObject({
    ...PermissionFields,
    description: Description.default(""),
    /** Null: everywhere. */
    selector: Selector.nullable().default(null),
  }),
  reply: PermissionRow,
  status: 201,
});

export const updatePermission = endpoint({
  method: "PATCH",
  path: "/api/v1/permissions/:permissionId",
  access: "roles:write",
  summary: "Change a permission, and with it what everybody may do who has it",
  params: PermissionParams,
  body: z.strictObject(PermissionFields).partial(),
  reply: PermissionRow,
});

export const deletePermission = endpoint({
  method: "DELETE",
  path: "/api/v1/permissions/:permissionId",
  access: "roles:write",
  summary: "Delete a permission that no role has",
  params: PermissionParams,
});

/** One thing that a person may do, and where. */
export const Grant = z.object({
  permission: Permission,
  description: z.string(),
  /** Everywhere, and about what belongs to no site as well. */
  everywhere: z.boolean(),
  /** All sites of these tenants, those to come as well. Empty where it is everywhere. */
  tenantIds: z.array(TenantId),
  /** The sites that it reaches, those of the tenants too. Empty where it is everywhere. */
  siteIds: z.array(SiteId),
}).meta({ id: "Grant" });
export type Grant = z.infer<typeof Grant>;

export const listMyPermissions = endpoint({
  method: "GET",
  path: "/api/v1/me/permissions",
  access: "session",
  summary: "Read what one may do, and where",
  reply: z.object({ items: z.array(Grant) }),
});
