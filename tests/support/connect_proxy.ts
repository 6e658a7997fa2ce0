/** A real HTTP proxy that answers CONNECT, as companies put one between a site and the world. */
import { connect, createServer, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";

export interface ConnectProxyOptions {
  /** `user:password` that it asks for. */
  readonly login?: string;
  /** Answers every CONNECT with 403. */
  readonly refuses?: boolean;
  /** Speaks TLS to its clients. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Where everything is connected to, whatever was asked for: names of a test need no DNS. */
  readonly to?: { readonly hostname: string; readonly port: number };
}

export interface ConnectProxy extends AsyncDisposable {
  readonly url: string;
  /** What it was asked to connect to: `host:port`. */
  readonly asked: readonly string[];
  /** All that came before a tunnel stood. */
  readonly heads: readonly string[];
}

export async function startConnectProxy(options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
  const [asked, heads] = [[], []] as [string[], string[]];
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    return socket;
  };
  const { tls } = options;
  const listen = (onClient: (client: Socket) => void) =>
    tls ? createTlsServer(tls, onClient) : createServer(onClient);
  const server = listen((client) => {
    keep(client).once("data", (data) => {
      const head = data.toString("latin1");
      heads.push(head);
      const target = /^CONNECT (\S+):(\d+) HTTP/.exec(head);
      if (target) asked.push(`${target[1]}:${target[2]}`);
      const refusal = refusalOf(head, options);
      if (refusal !== undefined || !target) {
        return void client.end(`HTTP/1.1 ${refusal ?? "400 Bad Request"}\r\n\r\n`);
      }
      const [, host = "", port = ""] = target;
      const to = options.to ?? { hostname: host.replace(/[[\]]/g, ""), port: Number(port) };
      const remote = keep(connect(to.port, to.hostname, () => {
        client.write("HTTP/1.1 200 Connection established\r\n\r\n");
        client.pipe(remote).pipe(client);
      }));
      remote.on("close", () => client.destroy());
      client.on("close", () => remote.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("The proxy has no port");
  return {
    url: `${tls ? "https" : "http"}://127.0.0.1:${address.port}`,
    asked,
    heads,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function refusalOf(head: string, { login, refuses }: ConnectProxyOptions): string | undefined {
  if (refuses) return "403 Forbidden";
  if (login === undefined) return undefined;
  const sent = /^proxy-authorization: Basic (\S+)/im.exec(head)?.[1];
  return sent === btoa(login)
    ? undefined
    : '407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="site"';
}
