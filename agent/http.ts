import type { Send } from "./control_plane.ts";
import { goesThrough, isLoopback, type ProxySettings, readCaFile } from "./network_settings.ts";
import { ProxyRelay } from "./proxy_relay.ts";
import { ReachError } from "./reach_error.ts";
import type { AgentSettings } from "./settings.ts";

type ClientOptions = Parameters<typeof Deno.createHttpClient>[0];

/** The control plane's address cannot be used; the message says what to do. */
export class AddressError extends Error {
  override name = "AddressError";
}

/** Certificates are always checked, and plain HTTP goes no further than this machine. */
export function checkedUrl(address: string): string {
  const url = URL.parse(address);
  if (!url) throw new AddressError(`Cannot use "${address}": it is no address such as https://…`);
  if (url.protocol === "https:") return url.origin;
  if (url.protocol === "http:" && isLoopback(url.hostname)) return url.origin;
  throw new AddressError(`Cannot use ${url.origin}: only https, or http to this very machine`);
}

/**
 * Carries requests to the control plane, each over HTTP/1.1: with HTTP/2 all of them share one connection, and one
 * that died in silence would hold up every request for good. A redirect is never followed (see `call`), so that no
 * answer sends the agent to another address.
 */
export function makeSend(client = Deno.createHttpClient({ http2: false })): Send {
  return (request) => fetch(request, { client });
}

/** The way to the control plane, to be closed after use. */
export interface Route extends Disposable {
  /** Throws a ReachError, which says what to do, where no request comes through. */
  readonly send: Send;
  /** The certificates of the private CA. */
  readonly caCerts: readonly string[];
  /** The proxy on the way. */
  readonly proxy: ProxySettings | undefined;
}

/** Opens the way to the control plane at `base`, as the settings say: through a proxy, trusting a private CA. */
export async function openRoute(
  base: string,
  { stateFolder, settings }: { readonly stateFolder: string; readonly settings: AgentSettings },
): Promise<Route> {
  const { hostname, protocol, port } = new URL(checkedUrl(base));
  const { caFile } = settings;
  const caCerts = caFile === undefined ? [] : await readCaFile(stateFolder, caFile);
  const proxy = proxyFor(hostname, settings);
  const relay = proxy?.user === undefined ? undefined : new ProxyRelay(proxy, { base, caCerts });
  const through = relay?.url ?? proxy?.url;
  const client = Deno.createHttpClient({
    http2: false,
    caCerts,
    ...(protocol === "http:"
      ? directly(hostname, port)
      : through
      ? { proxy: { url: through } }
      : {}),
  });
  const send = explained(makeSend(client), { base, proxy: proxy?.url, relay });
  const close = () => {
    client.close();
    relay?.[Symbol.dispose]();
  };
  return { send, caCerts, proxy, [Symbol.dispose]: close };
}

function proxyFor(hostname: string, { proxy }: AgentSettings): ProxySettings | undefined {
  return proxy && goesThrough(proxy, hostname) ? proxy : undefined;
}

/**
 * Deno heeds HTTP_PROXY even where the program may not read the environment: a request in the clear would leave this
 * machine. A transport of its own keeps it here.
 */
function directly(hostname: string, port: string): Pick<ClientOptions, "proxy"> {
  return { proxy: { transport: "tcp", hostname, port: Number(port || "80") } };
}

interface Way {
  readonly base: string;
  readonly proxy: string | undefined;
  readonly relay: ProxyRelay | undefined;
}

/** An abort and a time-out stay what they are: the loops tell them from a way that is closed. */
function explained(send: Send, way: Way): Send {
  return async (request) => {
    try {
      return await send(request);
    } catch (error) {
      const closed = error instanceof TypeError || error instanceof Deno.errors.NotCapable;
      throw closed ? new ReachError(error, { ...way, atProxy: way.relay?.failure }) : error;
    }
  };
}
