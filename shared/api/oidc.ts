import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { text } from "./page.ts";
import { Me } from "./sessions.ts";

/** What a provider hands back by the address that a browser returns to. */
const Returned = text(2_000).min(1, "must not be empty").meta({ example: "as it came back" });

export const getLoginOptions = endpoint({
  method: "GET",
  path: "/api/v1/login/options",
  access: "public",
  summary: "Read by which ways one can log in here",
  reply: z.object({
    /** By `/login/oidc`. */
    oidc: z.boolean(),
  }),
});

export const startOidcLogin = endpoint({
  method: "POST",
  path: "/api/v1/login/oidc/start",
  access: "public",
  summary: "Begin to sign in at the OpenID provider: where to go; the reply sets a cookie",
  reply: z.object({ authorizationUrl: z.string() }),
});

export const finishOidcLogin = endpoint({
  method: "POST",
  path: "/api/v1/login/oidc",
  access: "public",
  summary: "Finish to sign in with what the OpenID provider handed back; the reply logs in",
  body: z.strictObject({ code: Returned, state: Returned, iss: Returned.optional() }),
  reply: Me,
});

export const setOidcClientSecret = endpoint({
  method: "PUT",
  path: "/api/v1/oidc/client-secret",
  access: "settings:write",
  summary: "Keep the secret of the client that the settings name at the provider; null for none",
  body: z.strictObject({
    clientSecret: text(1_000).min(1, "must not be empty").nullable()
      .meta({ format: "password", example: "as the provider gave it" }),
  }),
});
