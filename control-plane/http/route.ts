import { isUtf8 } from "node:buffer";
import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { z } from "zod";
import type { AnyEndpoint, HandlerInput, HandlerReply } from "@rookery/shared/endpoint.ts";
import { fieldErrors, type InputPlace } from "@rookery/shared/field_errors.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { App, AppContext, AppEnv } from "./app_type.ts";
import { type Caller, type CallerFor, NOTHING, reachOf, type Scope } from "./caller.ts";
import { documentOf } from "./openapi_route.ts";
import { DOCUMENT_PACE, readBody } from "./read_body.ts";

/** What a handler knows beside its input. */
export interface RouteContext<E extends AnyEndpoint = AnyEndpoint> {
  readonly caller: CallerFor<E["access"]>;
  /** How far the caller's permission for this endpoint reaches. */
  readonly scope: Scope;
  readonly request: Request;
  /** Aborts when the caller goes away. */
  readonly signal: AbortSignal;
  readonly requestId: string;
  /** The caller's network address, as far as trusted proxies tell. */
  readonly address: string;
  setHeader(name: string, value: string): void;
}

/** Answers one endpoint. Refuses by throwing a ProblemError. */
export type Handler<E extends AnyEndpoint> = (
  input: HandlerInput<E>,
  context: RouteContext<E>,
) => HandlerReply<E> | Promise<HandlerReply<E>>;

/**
 * Mounts an endpoint: who may call it, how large its body may be, what its input must look like, in this order; then
 * the handler. The reply is parsed by the endpoint's schema before it leaves.
 */
export function route<E extends AnyEndpoint>(
  app: App,
  endpoint: E,
  handler: NoInfer<Handler<E>>,
): void {
  const document = documentOf(endpoint);
  if (endpoint.method === "HEAD") app.openAPIRegistry.registerPath(document);
  const mounted = createRoute({
    ...document,
    // Hono answers HEAD by the GET route and drops the body.
    method: endpoint.method === "HEAD" ? "get" : document.method,
    hide: endpoint.method === "HEAD",
    middleware: guardsOf(endpoint),
  });
  app.openapi(mounted, async (context: Context) => {
    // Parsed by the very schemas that HandlerInput and HandlerReply are computed from.
    const input = inputOf(endpoint, context) as HandlerInput<E>;
    return replyOf(endpoint, context, await handler(input, contextOf(endpoint, context)));
  }, (result) => {
    if (!result.success) throw refusalOf(result.target, result.error);
  });
}

function guardsOf(endpoint: AnyEndpoint) {
  const guard = async (context: Context<AppEnv>, next: () => Promise<void>) => {
    if (endpoint.method === "HEAD" && context.req.raw.method !== "HEAD") {
      throw new ProblemError("method-not-allowed", "This address takes HEAD.");
    }
    // Before the caller is known: finding that out costs what there is too little of.
    const leave = context.var.overload.enter(endpoint);
    try {
      context.set("caller", await context.var.authenticate(context, endpoint));
      checkContentType(endpoint, context);
      await next();
    } finally {
      leave();
    }
  };
  // A stream is counted by whoever reads it: buffering it here would defeat its purpose.
  if (endpoint.bodyAs === "bytes") return [guard, limitDeclaredLength(endpoint)];
  const guards = [guard, limitDeclaredLength(endpoint)];
  return endpoint.body ? [...guards, readDocument(endpoint)] : guards;
}

/**
 * Takes the body in at the pace of an honest sender. Broken text is refused: parsing would put U+FFFD in the place of
 * what is no UTF-8, and that would be stored for what was meant.
 */
function readDocument({ maxBodyBytes: maxBytes }: AnyEndpoint) {
  return async (context: Context<AppEnv>, next: () => Promise<void>) => {
    const { req, env } = context;
    const options = { maxBytes, pace: DOCUMENT_PACE, signal: signalOf(context) };
    const bytes = await (env?.readDocument?.(options) ?? readBody(req.raw.body, options));
    if (!isUtf8(bytes)) throw new ProblemError("malformed", "The request body is no UTF-8.");
    // Where the framework looks first for a body that was read already; its type leaves out that it is a promise.
    Object.assign(req.bodyCache, { arrayBuffer: Promise.resolve(bytes.buffer) });
    await next();
  };
}

function signalOf({ env, req }: AppContext): AbortSignal {
  return env?.signal ?? req.raw.signal;
}

function limitDeclaredLength(endpoint: AnyEndpoint) {
  return async (context: Context<AppEnv>, next: () => Promise<void>) => {
    const declared = Number(context.req.header("content-length") ?? 0);
    if (declared > endpoint.maxBodyBytes) refuseTooLarge();
    await next();
  };
}

function refuseTooLarge(): never {
  throw new ProblemError("too-large", "The request body is larger than this endpoint takes.");
}

function checkContentType(endpoint: AnyEndpoint, context: AppContext): void {
  if (endpoint.bodyAs !== "bytes") return;
  const type = context.req.header("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type === undefined || !endpoint.bodyTypes.includes(type)) {
    const types = endpoint.bodyTypes.join(" or ");
    throw new ProblemError("unsupported-media-type", `Send ${types}.`);
  }
}

const PLACES: Readonly<Record<string, InputPlace>> = {
  json: "body",
  query: "query",
  param: "params",
};

function refusalOf(target: string, error: z.core.$ZodError): ProblemError {
  const errors = fieldErrors(error, PLACES[target] ?? "body");
  const detail = errors.map((field) => `${field.pointer}: ${field.detail}`).join("; ");
  return new ProblemError("validation", detail.slice(0, 500), { errors });
}

function inputOf(endpoint: AnyEndpoint, context: Context): unknown {
  const valid = (target: string): unknown => context.req.valid(target as never);
  return {
    params: endpoint.params ? valid("param") : undefined,
    query: endpoint.query ? valid("query") : undefined,
    body: endpoint.bodyAs === "bytes"
      ? context.req.raw.body ?? new Blob([]).stream()
      : endpoint.body
      ? valid("json")
      : undefined,
  };
}

function contextOf<E extends AnyEndpoint>(endpoint: E, context: AppContext): RouteContext<E> {
  const caller: Caller = context.var.caller ?? { kind: "anonymous" };
  return {
    // `authenticate` has thrown unless the caller is of the kind that the endpoint's access asks for.
    caller: caller as CallerFor<E["access"]>,
    scope: reachFor(endpoint, caller),
    request: context.req.raw,
    signal: signalOf(context),
    requestId: context.var.requestId,
    address: context.var.address,
    setHeader: (name, value) => context.header(name, value, { append: name === "set-cookie" }),
  };
}

function reachFor({ access }: AnyEndpoint, caller: Caller): Scope {
  return access === "public" || access === "session" || access === "agent"
    ? NOTHING
    : reachOf(caller, access);
}

function replyOf(endpoint: AnyEndpoint, context: AppContext, reply: unknown): Response {
  if (endpoint.replyAs === "nothing") return context.body(null, endpoint.status);
  const status = endpoint.status as 200;
  if (endpoint.replyAs === "text") return context.text(reply as string, status);
  if (endpoint.replyAs === "bytes" || endpoint.replyAs === "events") {
    const isEvents = endpoint.replyAs === "events";
    context.header("Content-Type", isEvents ? "text/event-stream" : endpoint.replyType);
    return context.body(reply as Uint8Array<ArrayBuffer> | ReadableStream, status);
  }
  const parsed = endpoint.reply?.safeParse(reply);
  if (parsed?.success) return context.json(parsed.data as never, status);
  throw new Error(`Cannot send the reply of ${endpoint.method} ${endpoint.path}`, {
    cause: parsed?.error,
  });
}
