/**
 * An endpoint is data: what the control plane mounts, what the web app, the agents and the tests call, and
 * what the OpenAPI document shows are this one value.
 */
import type { z } from "zod";
import type { Access, Due } from "./api/access.ts";
import type { ServerEvent } from "./server_events.ts";

export type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
/** 204 has no body; 201 made something; 202 accepted work that goes on. */
export type Status = 200 | 201 | 202 | 204;
/** `json` is parsed by the schema; `bytes` is an unparsed stream of one of the endpoint's `bodyTypes`. */
export type BodyAs = "json" | "bytes";
/**
 * `json` is parsed by the schema; `text` is UTF-8; `bytes` is a stream; `events` is a stream of server-sent events, whose
 * data is of the schema; `nothing` has no body.
 */
export type ReplyAs = "json" | "text" | "bytes" | "events" | "nothing";

/** The `:names` in a path. */
export type PathNames<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? Name | PathNames<`/${Rest}`>
  : Path extends `${string}:${infer Name}` ? Name
  : never;

/** One endpoint of the HTTP API; made by `endpoint()`. */
export interface Endpoint<
  out M extends Method = Method,
  out P extends string = string,
  out A extends Access = Access,
  out Params extends z.ZodObject | undefined = z.ZodObject | undefined,
  out Query extends z.ZodObject | undefined = z.ZodObject | undefined,
  out Body extends z.ZodType | undefined = z.ZodType | undefined,
  out Reply extends z.ZodType | undefined = z.ZodType | undefined,
  out B extends BodyAs = BodyAs,
  out R extends ReplyAs = ReplyAs,
> {
  readonly method: M;
  /** `/api/v1/devices/:deviceId` */
  readonly path: P;
  readonly access: A;
  /** What a browser session may still owe that calls this; with anything else that is due it is refused. */
  readonly whileDue: readonly Due[];
  /** One line, imperative: "Create a device". */
  readonly summary: string;
  readonly description: string | undefined;
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly reply: Reply;
  readonly bodyAs: B;
  /** The media types that a body of bytes may have; the first is what callers send that name no other. */
  readonly bodyTypes: readonly [string, ...string[]];
  readonly replyAs: R;
  /** The media type of a reply of bytes. */
  readonly replyType: string;
  readonly status: Status;
  /** Largest request body. JSON bodies beyond it are refused before they are parsed. */
  readonly maxBodyBytes: number;
}

/** The permissive form, for code that handles every endpoint alike. */
export type AnyEndpoint = Endpoint;

/** The limit of a JSON body that names no other: 1 MiB. */
export const DEFAULT_BODY_BYTES = 1_048_576;

interface Written<M, P, A, Query, Body, Reply, B, R> {
  readonly method: M;
  readonly path: P;
  readonly access: A;
  readonly whileDue?: readonly Due[];
  readonly summary: string;
  readonly description?: string;
  readonly query?: Query;
  readonly body?: Body;
  readonly reply?: Reply;
  readonly bodyAs?: B;
  readonly bodyTypes?: readonly [string, ...string[]];
  readonly replyAs?: R;
  readonly replyType?: string;
  readonly status?: Status;
  readonly maxBodyBytes?: number;
}

/** A path with `:names` needs a schema for each of them; a path without has none. */
type WrittenParams<P extends string, Params> = [PathNames<P>] extends [never]
  ? { readonly params?: undefined }
  : { readonly params: Params & z.ZodObject<Record<PathNames<P>, z.ZodType>> };

/**
 * Declares an endpoint. A JSON reply needs `reply`; without it and without `replyAs` the reply has no body.
 * `bodyAs: "bytes"` needs no `body`. `status` is 200, or 204 when there is no reply.
 */
export function endpoint<
  const M extends Method,
  const P extends string,
  const A extends Access,
  Params extends z.ZodObject | undefined = undefined,
  Query extends z.ZodObject | undefined = undefined,
  Body extends z.ZodType | undefined = undefined,
  Reply extends z.ZodType | undefined = undefined,
  const B extends BodyAs = "json",
  const R extends ReplyAs = Reply extends undefined ? "nothing" : "json",
>(
  written: Written<M, P, A, Query, Body, Reply, B, R> & WrittenParams<P, Params>,
): Endpoint<M, P, A, Params, Query, Body, Reply, B, R> {
  const replyAs = written.replyAs ?? (written.reply ? "json" : "nothing");
  return {
    whileDue: [],
    description: undefined,
    query: undefined,
    body: undefined,
    reply: undefined,
    bodyAs: "json",
    bodyTypes: ["application/octet-stream"],
    replyType: "application/octet-stream",
    status: replyAs === "nothing" && written.method !== "HEAD" ? 204 : 200,
    maxBodyBytes: DEFAULT_BODY_BYTES,
    ...written,
    replyAs,
    // The optional fields were filled in above, which the conditional types cannot follow.
  } as unknown as Endpoint<M, P, A, Params, Query, Body, Reply, B, R>;
}

type Output<Schema> = Schema extends z.ZodType ? z.output<Schema> : undefined;

/** What a handler is given: parsed, with defaults filled in. */
export interface HandlerInput<E extends AnyEndpoint> {
  readonly params: Output<E["params"]>;
  readonly query: Output<E["query"]>;
  readonly body: E["bodyAs"] extends "bytes" ? ReadableStream<Uint8Array<ArrayBuffer>>
    : Output<E["body"]>;
}

/** What a handler returns; it is parsed by the reply's schema, so fields that the schema lacks never leave. */
export type HandlerReply<E extends AnyEndpoint> = E["replyAs"] extends "text" ? string
  : E["replyAs"] extends "bytes" ? Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>>
  : E["replyAs"] extends "events" ? ReadableStream<Uint8Array<ArrayBuffer>>
  : E["replyAs"] extends "nothing" ? void
  : E["reply"] extends z.ZodType ? z.input<E["reply"]>
  : never;

type InputParams<Schema> = Schema extends z.ZodObject ? { readonly params: z.input<Schema> }
  : { readonly params?: undefined };
type InputQuery<Schema> = Schema extends z.ZodObject
  ? object extends z.input<Schema> ? { readonly query?: z.input<Schema> }
  : { readonly query: z.input<Schema> }
  : { readonly query?: undefined };
type InputBody<E extends AnyEndpoint> = E["bodyAs"] extends "bytes"
  ? { readonly body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>> }
  : E["body"] extends z.ZodType ? { readonly body: z.input<E["body"]> }
  : { readonly body?: undefined };

/** What a caller passes. */
export type CallInput<E extends AnyEndpoint> =
  & InputParams<E["params"]>
  & InputQuery<E["query"]>
  & InputBody<E>;

/** What a caller gets back. */
export type CallReply<E extends AnyEndpoint> = E["replyAs"] extends "text" ? string
  : E["replyAs"] extends "bytes" ? Uint8Array<ArrayBuffer>
  : E["replyAs"] extends "events" ? AsyncIterable<ServerEvent<Output<E["reply"]>>>
  : E["replyAs"] extends "nothing" ? undefined
  : Output<E["reply"]>;

/** Whether a value is an endpoint, to pick them out of a module that also exports schemas. */
export function isEndpoint(value: unknown): value is AnyEndpoint {
  return typeof value === "object" && value !== null && "method" in value && "path" in value &&
    "access" in value && "replyAs" in value;
}
