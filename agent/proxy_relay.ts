import type { ProxySettings } from "./network_settings.ts";

const MAX_HEAD_BYTES = 16 * 1024;

/**
 * Logs in at a proxy on the HTTP client's behalf. Deno 2.9 sends the proxy's user and password to the origin as well,
 * inside the tunnel, where they are nobody's business; so it is told of this relay on loopback instead, which adds them
 * to the CONNECT and then only copies bytes. It leads to the control plane and nowhere else.
 */
export class ProxyRelay implements Disposable {
  readonly url: string;
  /** What went wrong on the last way to the proxy itself. */
  failure: string | undefined;
  readonly #listener: Deno.TcpListener;
  readonly #open = new Set<Deno.Conn>();
  readonly #proxy: ProxySettings;
  readonly #caCerts: string[];
  /** The only target: `host:port` of the control plane. */
  readonly #target: string;

  constructor(proxy: ProxySettings, to: { base: string; caCerts: readonly string[] }) {
    const { hostname, port } = new URL(to.base);
    this.#proxy = proxy;
    this.#caCerts = [...to.caCerts];
    this.#target = `${hostname}:${port || "443"}`;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.url = `http://127.0.0.1:${this.#listener.addr.port}`;
    void this.#accept();
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    for (const connection of this.#open) close(connection);
  }

  async #accept(): Promise<void> {
    try {
      for await (const client of this.#listener) {
        this.#open.add(client);
        void this.#serve(client).catch(() => {}).finally(() => {
          close(client);
          this.#open.delete(client);
        });
      }
    } catch {
      // Closed; who still waits for a connection sees it refused.
    }
  }

  async #serve(client: Deno.TcpConn): Promise<void> {
    const head = await readHead(client);
    if (!head.startsWith(`CONNECT ${this.#target} HTTP/1.1\r\n`)) return;
    const proxy = await this.#connect();
    this.#open.add(proxy);
    try {
      const login = this.#proxy.user === undefined
        ? ""
        : `Proxy-Authorization: Basic ${basic(this.#proxy)}\r\n`;
      await writeAll(proxy, new TextEncoder().encode(`${head.slice(0, -2)}${login}\r\n`));
      await Promise.all([copy(client, proxy), copy(proxy, client)]);
    } finally {
      close(proxy);
      this.#open.delete(proxy);
    }
  }

  async #connect(): Promise<Deno.Conn> {
    const { protocol, hostname, port } = new URL(this.#proxy.url);
    const host = hostname.replace(/^\[|\]$/g, "");
    try {
      const proxy = protocol === "https:"
        ? await Deno.connectTls({
          hostname: host,
          port: Number(port || "443"),
          caCerts: this.#caCerts,
        })
        : await Deno.connect({ hostname: host, port: Number(port || "80") });
      this.failure = undefined;
      return proxy;
    } catch (error) {
      this.failure = (error as Error).message;
      throw error;
    }
  }
}

/** Reads a CONNECT with its headers; the client sends nothing more until it is answered. */
async function readHead(client: Deno.Conn): Promise<string> {
  let head = "";
  const piece = new Uint8Array(MAX_HEAD_BYTES);
  while (!head.endsWith("\r\n\r\n")) {
    const read = await client.read(piece);
    if (read === null || head.length > MAX_HEAD_BYTES) throw new Error("This is no CONNECT");
    head += new TextDecoder("latin1").decode(piece.subarray(0, read));
  }
  return head;
}

function basic({ user = "", password = "" }: ProxySettings): string {
  return new TextEncoder().encode(`${user}:${password}`).toBase64();
}

/** Until one side ends; then the other is told, and what is still on its way back arrives. */
async function copy(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const piece = new Uint8Array(64 * 1024);
  for (;;) {
    const read = await from.read(piece);
    if (read === null) return await to.closeWrite();
    await writeAll(to, piece.subarray(0, read));
  }
}

async function writeAll(to: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // Closed already.
  }
}
