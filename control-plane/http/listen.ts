import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { newId } from "../database/new_id.ts";
import { ConnectionCount, type ConnectionLimits } from "./connection_count.ts";
import { exchange, type WebHandler } from "./web_exchange.ts";

/** What a caller may cost before its request is read. Bodies have limits of their own: see `read_body.ts`. */
export interface ListenLimits extends ConnectionLimits {
  /** For a TLS handshake, and for the head of a request, counted from the first byte that could come. */
  readonly headMs: number;
  readonly headBytes: number;
  /** How long a connection may wait for its next request. Longer than a heartbeat's interval, which then needs no new one. */
  readonly idleMs: number;
  /** How long nothing may move on a connection, in either direction. Longer than any claim is held. */
  readonly silentMs: number;
}

export const DEFAULT_LIMITS: Omit<ListenLimits, keyof ConnectionLimits> = {
  headMs: 10_000,
  headBytes: 16_384,
  idleMs: 75_000,
  silentMs: 120_000,
};

export interface ListenOptions {
  readonly hostname: string;
  readonly port: number;
  readonly tls?: { readonly cert: string; readonly key: string };
  /** What the target of a request is completed with: our own address, whatever Host says. */
  readonly origin: string;
  readonly limits: ListenLimits;
}

/** An open port. */
export interface Listening {
  readonly port: number;
  readonly connections: number;
  /**
   * Takes no more; running requests may end for as long as `graceMs`, then all connections are cut. Resolves when no
   * handler works any more, also none whose caller is gone: it may hold the database until then.
   */
  shutdown(graceMs: number): Promise<void>;
}

const CHECK_MS = 1_000;

/**
 * Serves HTTP/1.1. By node:http and not by Deno.serve, which (2.9.6) waits for ever for the head of a request, and
 * holds idle connections for ever. Rejects when the address cannot be had or the certificate is none.
 */
export async function listen(handle: WebHandler, options: ListenOptions): Promise<Listening> {
  const { hostname, port, limits, origin } = options;
  const count = new ConnectionCount(limits);
  const server = open(options);
  const running = new Set<Promise<void>>();
  server.on("request", (incoming, outgoing) => {
    const exchanged = exchange({ incoming, outgoing }, { handle, origin });
    running.add(exchanged);
    void exchanged.finally(() => running.delete(exchanged));
  });
  server.on("connection", (socket) => admit(socket, count));
  server.on("clientError", refuse);
  server.keepAliveTimeout = limits.idleMs;
  server.setTimeout(limits.silentMs);
  server.maxHeadersCount = 100;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, hostname, resolve);
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address ? address.port : port,
    get connections() {
      return count.total;
    },
    async shutdown(graceMs) {
      await closeServer(server, graceMs);
      await Promise.allSettled(running);
    },
  };
}

function open({ tls, limits: { headMs, headBytes } }: ListenOptions): Server {
  const options = {
    headersTimeout: headMs,
    // A large upload over a thin line takes its time: whoever reads the body watches its rate.
    requestTimeout: 0,
    connectionsCheckingInterval: CHECK_MS,
    maxHeaderSize: headBytes,
    noDelay: true,
  };
  if (!tls) return createServer(options);
  // node:https looks at the pair only when somebody comes.
  Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...tls }).close();
  return createTlsServer({ ...options, ...tls, handshakeTimeout: headMs });
}

function admit(socket: Socket, count: ConnectionCount): void {
  const leave = count.admit(socket.remoteAddress ?? "");
  if (leave) socket.once("close", leave);
  else socket.destroy();
}

async function closeServer(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(timer);
}

/** What is wrong with a request that never became one, by the code of its error. */
const REFUSALS: Readonly<Record<string, readonly [ProblemType, string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: ["too-slow", "The head of the request came too slowly."],
  HPE_HEADER_OVERFLOW: ["head-too-large", "The head of the request is larger than is taken."],
};

function refuse(error: Error & { readonly code?: string }, socket: Socket): void {
  // Before the handshake is over nothing can be said: what is written would wait for it for ever.
  const isHandshake = /TLS|SSL/.test(`${error.code} ${error.message}`);
  if (isHandshake || !socket.writable || error.code === "ECONNRESET") return void socket.destroy();
  const known = REFUSALS[error.code ?? ""] ?? REFUSALS[error.message];
  const problem = new ProblemError(...(known ?? ["malformed", "This is no request of HTTP/1.1."]));
  const body = JSON.stringify(problem.toProblem(newId<string>()));
  socket.end(
    `HTTP/1.1 ${problem.status} ${problem.type}\r\nConnection: close\r\n` +
      `Content-Type: application/problem+json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    () => socket.destroy(),
  );
  const timer = setTimeout(() => socket.destroy(), CHECK_MS);
  socket.once("close", () => clearTimeout(timer));
}
