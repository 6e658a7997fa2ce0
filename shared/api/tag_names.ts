import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { id, Instant, TenantId } from "../ids.ts";
import { listOf, Page } from "./page.ts";
import { Tag } from "./tags.ts";

export const TagId = id("TagId");
export type TagId = z.infer<typeof TagId>;

/** A tag of a tenant; devices get it by their own `tags`, by an edit of many, or by rules. */
export const TagName = z.object({
  id: TagId,
  tenantId: TenantId,
  name: z.string(),
  createdAt: Instant,
}).meta({ id: "TagName" });
export type TagName = z.infer<typeof TagName>;

const TagParams = z.strictObject({ tagId: TagId });

export const listTags = endpoint({
  method: "GET",
  path: "/api/v1/tags",
  access: "tags:read",
  summary: "List the tags that tenants have; devices?tags= lists the devices of one",
  query: z.strictObject({ ...Page.shape, tenantId: TenantId.optional() }),
  reply: listOf(TagName),
});

export const renameTag = endpoint({
  method: "PATCH",
  path: "/api/v1/tags/:tagId",
  access: "tags:write",
  summary: "Rename a tag, on all devices that have it",
  description:
    "Refused while a policy selects by its name: it would select other devices from then on",
  params: TagParams,
  body: z.strictObject({ name: Tag }),
  reply: TagName,
});

export const deleteTag = endpoint({
  method: "DELETE",
  path: "/api/v1/tags/:tagId",
  access: "tags:write",
  summary: "Delete a tag, and take it from all devices",
  description: "Refused while a policy selects by its name, or a rule gives it",
  params: TagParams,
});
