import { ENDPOINTS } from "@rookery/shared/api/mod.ts";
import type { App } from "./app_type.ts";
import { mendNullable, registerComponents } from "./openapi_components.ts";
import { tagOf } from "./openapi_route.ts";

const DESCRIPTION = `Configuration backup for network devices.

Errors are problems (RFC 9457). Lists are paged by \`cursor\`: pass the \`nextCursor\` of the page before until it is null.
Programs send an API token as a bearer token; browsers send the session cookie and, with every change, the Origin header.`;

const NOUNS = new Set(ENDPOINTS.map(({ endpoint }) => tagOf(endpoint)));

/** Serves the OpenAPI 3.1 document of all endpoints mounted so far and later. */
export function mountOpenApi(app: App, options: { readonly cookieName: string }): void {
  const { openAPIRegistry: registry } = app;
  registry.registerComponent("securitySchemes", "sessionCookie", {
    type: "apiKey",
    in: "cookie",
    name: options.cookieName,
    description: "Set by login. Changes also need the Origin header of ROOKERY_PUBLIC_URL.",
  });
  registry.registerComponent("securitySchemes", "apiToken", {
    type: "http",
    scheme: "bearer",
    description: "An API token: rkt_…",
  });
  registry.registerComponent("securitySchemes", "agentProof", {
    type: "http",
    scheme: "DPoP",
    description: "An agent's access token with a proof by its key (RFC 9449)",
  });
  registerComponents(registry, ENDPOINTS.map(({ endpoint }) => endpoint));
  let document: unknown;
  app.get("/api/v1/openapi.json", (context) => {
    document ??= mendNullable(app.getOpenAPI31Document({
      openapi: "3.1.0",
      info: {
        title: "Rookery",
        version: "1",
        description: DESCRIPTION,
        license: { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" },
      },
      servers: [{ url: "/" }],
      tags: [...NOUNS].sort().map((name) => ({ name })),
    }));
    context.header("Cache-Control", "no-cache");
    return context.json(document as Record<string, unknown>);
  });
}
