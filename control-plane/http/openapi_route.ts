import type { RouteConfig } from "@hono/zod-openapi";
import { z } from "zod";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
import { Problem } from "@rookery/shared/problem.ts";

const Bytes = z.string().meta({ type: "string", format: "binary" });
const PROBLEM_CONTENT = { "application/problem+json": { schema: Problem } } as const;

/** An endpoint as the OpenAPI registry takes it. */
export function documentOf(endpoint: AnyEndpoint): RouteConfig {
  return {
    method: endpoint.method.toLowerCase() as "get",
    path: endpoint.path.replaceAll(/:(\w+)/g, "{$1}"),
    operationId: operationIdOf(endpoint),
    tags: [tagOf(endpoint)],
    summary: endpoint.summary,
    description: `${endpoint.description ?? endpoint.summary}.\n\nAccess: \`${endpoint.access}\`.`,
    security: securityOf(endpoint),
    request: {
      ...(endpoint.params ? { params: endpoint.params } : {}),
      ...(endpoint.query ? { query: endpoint.query } : {}),
      ...bodyOf(endpoint),
    },
    responses: {
      [endpoint.status]: { description: endpoint.summary, ...contentOf(endpoint) },
      default: { description: "A problem (RFC 9457)", content: PROBLEM_CONTENT },
    },
  };
}

/** `GET /api/v1/devices/:deviceId` → `getDevicesByDeviceId`: unique because method and path are. */
function operationIdOf({ method, path }: AnyEndpoint): string {
  const words = path.replace("/api/v1", "").split(/[^\w:]/).filter(Boolean)
    .map((word) => word.startsWith(":") ? `By${capitalised(word.slice(1))}` : capitalised(word));
  return method.toLowerCase() + words.join("");
}

function capitalised(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** The noun that it is about. */
export function tagOf({ path }: AnyEndpoint): string {
  const [, part = "", , noun] = path.split("/");
  return part === "agent" ? "agent protocol" : noun ?? "health";
}

function securityOf({ access }: AnyEndpoint): Record<string, string[]>[] {
  if (access === "public") return [];
  return access === "agent" ? [{ agentProof: [] }] : [{ sessionCookie: [] }, { apiToken: [] }];
}

function bodyOf(endpoint: AnyEndpoint) {
  if (endpoint.bodyAs === "bytes") {
    const content = Object.fromEntries(endpoint.bodyTypes.map((type) => [type, { schema: Bytes }]));
    return { body: { required: true, content } };
  }
  // Without `required` a request without a content type would not be checked at all.
  return endpoint.body
    ? { body: { required: true, content: { "application/json": { schema: endpoint.body } } } }
    : {};
}

function contentOf(endpoint: AnyEndpoint) {
  if (endpoint.replyAs === "text") {
    return { content: { "text/plain": { schema: z.string() } } };
  }
  if (endpoint.replyAs === "bytes") {
    return { content: { [endpoint.replyType]: { schema: Bytes } } };
  }
  if (endpoint.replyAs === "events") {
    return { content: { "text/event-stream": { schema: endpoint.reply ?? z.string() } } };
  }
  return endpoint.replyAs === "json" && endpoint.reply
    ? { content: { "application/json": { schema: endpoint.reply } } }
    : {};
}
