import type { IncomingMessage, ServerResponse } from "node:http";
import { ProblemError } from "@rookery/shared/problem.ts";
import { newId } from "../database/new_id.ts";

/** Answers a request; `app.fetch` of Hono is one. */
export type WebHandler = (
  request: Request,
  caller: { readonly remoteAddress: string },
) => Response | Promise<Response>;

/** What of a body is kept while nobody reads it. */
const BODY_BUFFER_BYTES = 65_536;
/** How long a caller whose request was answered early may go on sending it, so that it reads the answer. */
const LINGER_MS = 3_000;

/**
 * Carries one exchange between node:http and a handler of the web's own types. The request's signal aborts when the
 * caller goes away. Not @hono/node-server: it replaces the global Request, and tells callers the messages of errors.
 */
export async function exchange(
  { incoming, outgoing }: { incoming: IncomingMessage; outgoing: ServerResponse },
  { handle, origin }: { handle: WebHandler; origin: string },
): Promise<void> {
  const gone = new AbortController();
  outgoing.on("close", () => {
    if (!outgoing.writableFinished) {
      gone.abort(new DOMException("The caller is gone", "AbortError"));
    }
  });
  // Its reader hears of it; unread it concerns nobody.
  incoming.on("error", () => {});
  const { remoteAddress = "" } = incoming.socket;
  const request = requestOf(incoming, { origin, signal: gone.signal });
  try {
    await send(request ? await handle(request, { remoteAddress }) : unreadable(), outgoing);
  } catch {
    // Whatever a handler throws was made a reply; what is left is a reply that broke off.
    outgoing.destroy();
  }
  if (!incoming.complete) linger(incoming);
}

/** Undefined for a target or a method that a Request cannot carry, such as TRACE. */
function requestOf(
  incoming: IncomingMessage,
  { origin, signal }: { origin: string; signal: AbortSignal },
): Request | undefined {
  const { method = "GET", url = "", rawHeaders } = incoming;
  const target = url.startsWith("/") ? url : pathOf(url);
  if (target === undefined) return undefined;
  const headers: [string, string][] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    headers.push([rawHeaders[at] ?? "", rawHeaders[at + 1] ?? ""]);
  }
  const body = hasBody(incoming) ? { body: bodyOf(incoming) } : {};
  try {
    return new Request(origin + target, { method, headers, signal, ...body });
  } catch {
    return undefined;
  }
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
  for (const [name, value] of response.headers) {
    if (name !== "set-cookie") outgoing.setHeader(name, value);
  }
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) outgoing.setHeader("set-cookie", cookies);
  outgoing.statusCode = response.status;
  if (!response.body) return void outgoing.end();
  if (isWhole(response.headers)) return void outgoing.end(await response.bytes());
  await pump(response.body, outgoing);
}

/** Documents are made in one piece and get their length; everything else flows. */
function isWhole(headers: Headers): boolean {
  return /^(application\/(problem\+)?json|text\/html)\b/.test(headers.get("content-type") ?? "");
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
