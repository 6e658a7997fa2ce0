import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
import type { Caller } from "./caller.ts";
import type { Log } from "./log.ts";
import type { Overload } from "./overload.ts";
import type { WebCaller } from "./web_exchange.ts";

/** Finds out who is calling an endpoint; throws a ProblemError when they may not. */
export type Authenticate = (
  context: AppContext,
  endpoint: Pick<AnyEndpoint, "access" | "whileDue">,
) => Promise<Caller>;

/** What every request carries. */
export interface AppEnv {
  /** What `app.fetch(request, bindings)` is given beside the request. */
  Bindings: Partial<WebCaller>;
  Variables: {
    readonly requestId: string;
    readonly address: string;
    readonly authenticate: Authenticate;
    readonly log: Log;
    readonly overload: Overload;
    caller?: Caller;
  };
}

export type App = OpenAPIHono<AppEnv>;
export type AppContext = Context<AppEnv>;
