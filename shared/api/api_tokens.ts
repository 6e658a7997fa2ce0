import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { ApiTokenId, Instant } from "../ids.ts";
import { Name } from "./page.ts";

/** A token for programs, without its secret. */
export const ApiToken = z.object({
  id: ApiTokenId,
  name: z.string(),
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

export const createApiToken = endpoint({
  method: "POST",
  path: "/api/v1/me/api-tokens",
  access: "session",
  summary: "Make an API token; its secret is shown once",
  body: z.strictObject({
    name: Name,
    /** 90 days by default, a year at most. */
    expiresInDays: z.int().min(1).max(366).default(90),
  }),
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
