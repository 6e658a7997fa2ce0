import { newId } from "../database/new_id.ts";
import type { App, AppContext, Authenticate } from "./app_type.ts";
import { clientAddress, type TrustedProxies } from "./address.ts";
import type { Log } from "./log.ts";
import type { Overload } from "./overload.ts";

/** A request that was answered; what a client makes up, such as its path, is left out. */
export interface Answered {
  readonly method: string;
  readonly status: number;
  readonly seconds: number;
}

export interface ObserveOptions {
  readonly authenticate: Authenticate;
  readonly log: Log;
  readonly overload: Overload;
  readonly publicUrl: string;
  readonly trustedProxies: TrustedProxies;
  readonly metrics: { answered(request: Answered): void };
}

/** A page that needs more says so itself; everything else loads nothing and is framed by nobody. */
const STRICTEST_POLICY =
  "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TWO_YEARS_SECONDS = 63_072_000;

/** Gives every request its id and address, every reply its security headers, and the log its line. */
export function observeRequests(app: App, options: ObserveOptions): void {
  app.use("*", async (context, next) => {
    const started = performance.now();
    context.set("requestId", newId<string>());
    context.set("authenticate", options.authenticate);
    context.set("log", options.log);
    context.set("overload", options.overload);
    context.set("address", addressOf(context, options.trustedProxies));
    await next();
    secure(context, options.publicUrl);
    const durationMs = performance.now() - started;
    const { method } = context.req.raw;
    options.metrics.answered({ method, status: context.res.status, seconds: durationMs / 1_000 });
    options.log(lineOf(context, durationMs));
  });
}

function addressOf(context: AppContext, trusted: TrustedProxies): string {
  const remote = context.env?.remoteAddress ?? "";
  return clientAddress(remote, context.req.header("x-forwarded-for"), trusted);
}

function secure(context: AppContext, publicUrl: string): void {
  const { headers } = context.res;
  headers.set("X-Request-Id", context.var.requestId);
  headers.set("X-Content-Type-Options", "nosniff");
  headers.set("X-Frame-Options", "DENY");
  headers.set("Referrer-Policy", "no-referrer");
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  setUnlessSet(headers, "Content-Security-Policy", STRICTEST_POLICY);
  setUnlessSet(headers, "Cache-Control", "no-store");
  if (publicUrl.startsWith("https:")) {
    headers.set("Strict-Transport-Security", `max-age=${TWO_YEARS_SECONDS}`);
  }
}

function setUnlessSet(headers: Headers, name: string, value: string): void {
  if (!headers.has(name)) headers.set(name, value);
}

function lineOf(context: AppContext, durationMs: number) {
  const { caller } = context.var;
  return {
    level: context.res.status >= 500 ? "error" : "info",
    message: "request",
    requestId: context.var.requestId,
    method: context.req.raw.method,
    // Without the query, and without what a client made up: paths can be long.
    path: context.req.path.slice(0, 300),
    status: context.res.status,
    durationMs: Math.round(durationMs * 10) / 10,
    address: context.var.address,
    caller: caller?.kind === "user"
      ? caller.userId
      : caller?.kind === "agent"
      ? caller.agentId
      : null,
  } as const;
}
