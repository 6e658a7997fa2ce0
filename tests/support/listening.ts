/** The control plane of a test file behind a real socket, and callers that speak bytes to it. */
import {
  DEFAULT_LIMITS,
  listen,
  type Listening,
  type ListenLimits,
} from "../../control-plane/http/listen.ts";
import type { TestControlPlane } from "./control_plane.ts";
import type { Carrier } from "./wire.ts";

export interface ListenOrder {
  readonly limits?: Partial<ListenLimits>;
  readonly hostname?: string;
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** Opens a port; dispose it to cut every connection. Where the address is of no concern, no address is limited. */
export async function listenAt(
  plane: TestControlPlane,
  { limits, hostname = "127.0.0.1", tls }: ListenOrder = {},
): Promise<Listening & AsyncDisposable> {
  const listening = await listen((request, caller) => plane.app.fetch(request, caller), {
    hostname,
    port: 0,
    origin: plane.publicUrl,
    limits: { ...DEFAULT_LIMITS, perNetwork: 1_000, total: 5_000, isShared: () => true, ...limits },
    ...(tls ? { tls } : {}),
  });
  const { port, shutdown } = listening;
  return {
    port,
    get connections() {
      return listening.connections;
    },
    shutdown,
    [Symbol.asyncDispose]: () => shutdown(0),
  };
}

/** Carries an agent's requests to a port, whatever their address says. */
export function overSocket(base: string, client: Deno.HttpClient): Carrier {
  return (request) => {
    const { pathname, search } = new URL(request.url);
    return fetch(new Request(base + pathname + search, request), { client });
  };
}

/** One raw connection: what it was sent, and when it was closed. */
export interface RawConnection {
  readonly closed: Promise<void>;
  isClosed(): boolean;
  received(): string;
  /** Never fails: a connection that is gone takes no more. */
  write(text: string): Promise<void>;
  close(): void;
}

export async function connectRaw(port: number): Promise<RawConnection> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const encoder = new TextEncoder();
  const state = { text: "", closed: false };
  const closed = (async () => {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(4_096);
    try {
      for (let count = await connection.read(buffer); count !== null;) {
        state.text += decoder.decode(buffer.subarray(0, count), { stream: true });
        count = await connection.read(buffer);
      }
    } catch {
      // Reset by the server, or closed by the test.
    }
    state.closed = true;
  })();
  return {
    closed,
    isClosed: () => state.closed,
    received: () => state.text,
    write: (text) => connection.write(encoder.encode(text)).then(() => {}, () => {}),
    close() {
      try {
        connection.close();
      } catch {
        // Closed already.
      }
    },
  };
}
