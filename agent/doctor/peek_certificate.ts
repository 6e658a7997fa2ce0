import { once } from "node:events";
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

/** What is written on the certificate that answers; nobody has checked it. */
export interface SeenCertificate {
  readonly names: string;
  readonly issuer: string;
  readonly validTo: Date;
}

export interface Peek {
  readonly base: string;
  /** `http://127.0.0.1:port` of a proxy, or of a relay to one, that needs no login. */
  readonly through: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * Looks at the certificate behind an address, good or bad, to say what is wrong with it; undefined when none was shown.
 * Nothing is sent: whether it can be trusted, the HTTP client of the agent decides.
 */
export async function peekCertificate(peek: Peek): Promise<SeenCertificate | undefined> {
  const { hostname, port } = new URL(peek.base);
  const host = hostname.replace(/^\[|\]$/g, "");
  let socket: Socket | undefined;
  let tls: TLSSocket | undefined;
  try {
    socket = await open(host, Number(port || "443"), peek);
    // An address is no server name (RFC 6066, section 3).
    const servername = isIP(host) ? {} : { servername: host };
    tls = connectTls({ socket, host, ...servername, rejectUnauthorized: false });
    await once(tls, "secureConnect", { signal: peek.signal });
    const { subjectaltname = "", issuer, valid_to } = tls.getPeerCertificate();
    if (!valid_to) return undefined;
    const names = subjectaltname.replaceAll(/DNS:|IP Address:/g, "");
    return { names, issuer: String(issuer.CN ?? issuer.O ?? ""), validTo: new Date(valid_to) };
  } catch {
    return undefined;
  } finally {
    tls?.destroy();
    socket?.destroy();
  }
}

async function open(host: string, port: number, { through, signal }: Peek): Promise<Socket> {
  const proxy = through === undefined ? undefined : new URL(through);
  const socket = proxy
    ? connect(Number(proxy.port || "80"), proxy.hostname.replace(/^\[|\]$/g, ""))
    : connect(port, host);
  socket.on("error", () => {});
  await once(socket, "connect", { signal });
  if (!proxy) return socket;
  const target = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  const [head] = await once(socket, "data", { signal });
  if (!/^HTTP\/1\.[01] 2/.test(String(head))) throw new Error("The proxy refused");
  return socket;
}
