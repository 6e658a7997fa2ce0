import type { IncomingMessage, ServerResponse } from "node:http";
import { ProblemError } from "@rookery/shared/problem.ts";
import { newId } from "../database/new_id.ts";
import type { ReadBodyOptions } from "./read_body.ts";
import { readIncoming } from "./read_incoming.ts";

/** Who sent a request, and what of it is costly to make and not always asked for. */
export interface WebCaller {
  readonly remoteAddress: string;
  /** Aborts when the caller goes away; the request's own signal never does. */
  readonly signal: AbortSignal;
  /** Reads a JSON body as `readBody` does; undefined when the body is none, and is a stream of the request. */
  readonly readDocument:
    | ((options: ReadBodyOptions) => Promise<Uint8Array<ArrayBuffer>>)
    | undefined;
}

/** Answers a request; `app.fetch` of Hono is one. */
export type WebHandler = (request: Request, caller: WebCaller) => Response | Promise<Response>;

/** What of a body is kept while nobody reads it. */
const BODY_BUFFER_BYTES = 65_536;
/** How long a caller whose request was answered early may go on sending it, so that it reads the answer. */
const LINGER_MS = 3_000;

/**
 * Carries one exchange between node:http and a handler of the web's own types. Not @hono/node-server: it replaces the
 * global Request, and tells callers the messages of errors.
 */
export async function exchange(
  { incoming, outgoing }: { incoming: IncomingMessage; outgoing: ServerResponse },
  { handle, origin }: { handle: WebHandler; origin: string },
): Promise<void> {
  // Its reader hears of it; unread it concerns nobody.
  incoming.on("error", () => {});
  const request = requestOf(incoming, origin);
  try {
    const caller = callerOf(incoming, outgoing);
    await send(request ? await handle(request, caller) : unreadable(), outgoing);
  } catch {
    // Whatever a handler throws was made a reply; what is left is a reply that broke off.
    outgoing.destroy();
  }
  if (!incoming.complete) linger(incoming);
}

function callerOf(incoming: IncomingMessage, outgoing: ServerResponse): WebCaller {
  let gone: AbortController | undefined;
  let isGone = false;
  const leave = () => {
    isGone = !outgoing.writableFinished;
    if (isGone) gone?.abort(new DOMException("The caller is gone", "AbortError"));
  };
  outgoing.on("close", leave);
  return {
    remoteAddress: incoming.socket.remoteAddress ?? "",
    get signal() {
      gone ??= new AbortController();
      if (isGone) leave();
      return gone.signal;
    },
    readDocument: isDocument(incoming) ? (options) => readIncoming(incoming, options) : undefined,
  };
}

/** Undefined for a target or a method that a Request cannot carry, such as TRACE. */
function requestOf(incoming: IncomingMessage, origin: string): Request | undefined {
  const { method = "GET", url = "" } = incoming;
  const target = url.startsWith("/") ? url : pathOf(url);
  if (target === undefined) return undefined;
  // No list, which is for replies; what came twice is one text with a comma, as in Headers.
  const { "set-cookie": _, ...headers } = incoming.headers;
  const body = hasBody(incoming) && !isDocument(incoming) ? { body: bodyOf(incoming) } : {};
  try {
    // As an object: lists of pairs cost several times as much.
    return new Request(origin + target, { method, headers: headers as HeaderRecord, ...body });
  } catch {
    return undefined;
  }
}

type HeaderRecord = Record<string, string>;

function isDocument({ headers }: IncomingMessage): boolean {
  return headers["content-type"]?.startsWith("application/json") ?? false;
}

/** The absolute form of a target (RFC 9112, section 3.2.2), as proxies send it: its host means nothing here. */
function pathOf(target: string): string | undefined {
  const url = URL.parse(target);
  return url && /^https?:$/.test(url.protocol) ? url.pathname + url.search : undefined;
}

function hasBody({ method, headers }: IncomingMessage): boolean {
  if (method === "GET" || method === "HEAD") return false;
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      incoming.on("data", (chunk: Uint8Array<ArrayBuffer>) => {
        controller.enqueue(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length));
        if ((controller.desiredSize ?? 0) <= 0) incoming.pause();
      });
      incoming.on("end", () => controller.close());
      incoming.on("close", () => {
        if (!incoming.readableEnded) controller.error(new TypeError("The body broke off"));
      });
      incoming.pause();
    },
    pull: () => void incoming.resume(),
    cancel: () => void incoming.removeAllListeners("data").removeAllListeners("end"),
  }, { highWaterMark: BODY_BUFFER_BYTES, size: (chunk) => chunk.length });
}

async function send(response: Response, outgoing: ServerResponse): Promise<void> {
  if (outgoing.destroyed) return await response.body?.cancel();
  const headers = [...response.headers].flat();
  if (isWhole(response)) {
    const whole = await response.bytes();
    outgoing.writeHead(response.status, [...headers, "content-length", String(whole.length)]);
    return void outgoing.end(whole);
  }
  outgoing.writeHead(response.status, headers);
  if (!response.body) return void outgoing.end();
  await pump(response.body, outgoing);
}

/** Documents are made in one piece and get their length; everything else flows. */
function isWhole({ headers }: Response): boolean {
  return !headers.has("content-length") &&
    /^(application\/(problem\+)?json|text\/html)\b/.test(headers.get("content-type") ?? "");
}

async function pump(body: ReadableStream<Uint8Array>, outgoing: ServerResponse): Promise<void> {
  outgoing.flushHeaders();
  const reader = body.getReader();
  const closed = Promise.withResolvers<void>();
  outgoing.on("close", () => {
    closed.resolve();
    reader.cancel().catch(() => {});
  });
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    if (outgoing.destroyed) return;
    if (outgoing.write(next.value)) continue;
    const drained = Promise.withResolvers<void>();
    outgoing.once("drain", drained.resolve);
    await Promise.race([drained.promise, closed.promise]);
  }
  outgoing.end();
}

/** The answer was given before the request was whole: the rest is thrown away, for a while. */
function linger(incoming: IncomingMessage): void {
  const { socket } = incoming;
  // Its caller is gone already, and "close" would not come again.
  if (socket.destroyed) return;
  incoming.resume();
  const timer = setTimeout(() => incoming.complete || socket.destroy(), LINGER_MS);
  const stop = () => clearTimeout(timer);
  incoming.once("end", stop);
  socket.once("close", stop);
}

function unreadable(): Response {
  const id = newId<string>();
  const problem = new ProblemError("malformed", "The request's method or target is none of HTTP.");
  return new Response(JSON.stringify(problem.toProblem(id)), {
    status: problem.status,
    headers: { "content-type": "application/problem+json", "x-request-id": id },
  });
}
