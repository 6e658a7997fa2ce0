import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { ApiTokenId, Instant, SiteId } from "../ids.ts";
import { Permission, SITE_PERMISSIONS } from "./access.ts";
import { Name } from "./page.ts";

/** A token for programs, without its secret. */
export const ApiToken = z.object({
  id: ApiTokenId,
  name: z.string(),
  /** What it may do at most; null: all that its person may. It never may do more than its person. */
  permissions: z.array(z.string()).nullable(),
  /** The sites it is good for; null: all that its person reaches. */
  siteIds: z.array(SiteId).nullable(),
  createdAt: Instant,
  lastUsedAt: Instant.nullable(),
  expiresAt: Instant.nullable(),
  revokedAt: Instant.nullable(),
}).meta({ id: "ApiToken" });
export type ApiToken = z.infer<typeof ApiToken>;

export const listApiTokens = endpoint({
  method: "GET",
  path: "/api/v1/me/api-tokens",
  access: "session",
  summary: "List one's own API tokens, without their secrets",
  reply: z.object({ items: z.array(ApiToken) }),
});

/** Whoever holds a token for one site must not reach what belongs to none, such as users. */
function checkSitePermissions(
  { permissions, siteIds }: {
    readonly permissions?: readonly Permission[] | undefined;
    readonly siteIds?: readonly SiteId[] | undefined;
  },
  { addIssue }: z.core.$RefinementCtx,
): void {
  if (siteIds === undefined) return;
  const allowed = SITE_PERMISSIONS.join(", ");
  if (permissions === undefined) {
    const message = `must be named for a token of single sites: ${allowed}`;
    addIssue({ code: "custom", path: ["permissions"], message, input: permissions });
  }
  permissions?.forEach((permission, index) => {
    if (SITE_PERMISSIONS.includes(permission)) return;
    const message = `is not about single sites; these are: ${allowed}`;
    addIssue({ code: "custom", path: ["permissions", index], message, input: permission });
  });
}

export const createApiToken = endpoint({
  method: "POST",
  path: "/api/v1/me/api-tokens",
  access: "session",
  summary: "Make an API token; its secret is shown once",
  body: z.strictObject({
    name: Name,
    /** 90 days by default; at most a year, or what `security.api_token_max_days` says. */
    expiresInDays: z.int().min(1).max(366).optional(),
    /** Makes a token for this and nothing else. Default: all that its person may do. */
    permissions: z.array(Permission).min(1).max(100).optional(),
    /** Makes a token for these sites alone, with permissions that are about sites. */
    siteIds: z.array(SiteId).min(1).max(1_000).optional(),
  }).superRefine(checkSitePermissions),
  reply: z.object({ ...ApiToken.shape, secret: z.string() }),
  status: 201,
});

export const revokeApiToken = endpoint({
  method: "DELETE",
  path: "/api/v1/me/api-tokens/:apiTokenId",
  access: "session",
  summary: "Revoke one of one's own API tokens",
  params: z.strictObject({ apiTokenId: ApiTokenId }),
});
