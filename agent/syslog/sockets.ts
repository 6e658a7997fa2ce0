import { createSocket, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { FrameReader } from "./frames.ts";
import type { Intake } from "./intake.ts";
import type { SyslogSettings } from "./settings.ts";

/** Connections at the same time, and of one source; the oldest of a source makes room for its newest. */
const MOST_CONNECTIONS = 256;
const MOST_OF_SOURCE = 16;
const CHUNK_BYTES = 16_384;

/** What is heard, and who has to be told of it. */
export interface Hearing {
  readonly intake: Pick<Intake, "admits" | "take">;
  /** Called with each message, before it is looked at. */
  readonly onMessage: () => void;
}

/** Hears UDP, one message a datagram (RFC 5426). */
export async function hearUdp(
  { bind, port }: Pick<SyslogSettings, "bind" | "port">,
  { intake, onMessage }: Hearing,
): Promise<() => Promise<void>> {
  const socket = createSocket({ type: isIPv6(bind) ? "udp6" : "udp4" });
  socket.on("message", (message: Uint8Array, { address }: { readonly address: string }) => {
    onMessage();
    if (intake.admits(address)) intake.take(address, message);
  });
  await bound(socket, { bind, port });
  // What one sender did to one datagram is no reason to hear nobody any more.
  socket.on("error", () => {});
  return () => new Promise((resolve) => socket.close(() => resolve()));
}

function bound(
  socket: Socket,
  { bind, port }: Pick<SyslogSettings, "bind" | "port">,
): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind({ port, address: bind }, () => {
      socket.removeListener("error", reject);
      resolve();
    });
  });
}

/** Hears TCP, framed as RFC 6587 says. */
export function hearTcp(
  { bind, port }: Pick<SyslogSettings, "bind" | "port">,
  hearing: Hearing,
): () => Promise<void> {
  const listener = Deno.listen({ hostname: bind, port });
  const open = new Map<Deno.TcpConn, string>();
  const accepting = acceptAll(
    listener,
    (connection) => void hearConnection(connection, { ...hearing, open }),
  );
  return async () => {
    listener.close();
    for (const connection of open.keys()) endConnection(connection);
    open.clear();
    await accepting;
  };
}

async function acceptAll(
  listener: Deno.TcpListener,
  onConnection: (connection: Deno.TcpConn) => void,
): Promise<void> {
  while (true) {
    try {
      onConnection(await listener.accept());
    } catch (error) {
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
        return;
      }
      // Reset before it was accepted, or no descriptor left: others come.
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function hearConnection(
  connection: Deno.TcpConn,
  { intake, onMessage, open }: Hearing & { readonly open: Map<Deno.TcpConn, string> },
): Promise<void> {
  const { hostname: address } = connection.remoteAddr;
  if (!intake.admits(address)) return endConnection(connection);
  makeRoom(open, address);
  open.set(connection, address);
  const take = (message: Uint8Array) => {
    onMessage();
    intake.take(address, message);
  };
  try {
    // The other end of a relay may vanish without a word.
    connection.setKeepAlive(true);
    await readFrames(connection, take);
  } catch {
    // Reset, or closed by us.
  } finally {
    open.delete(connection);
    endConnection(connection);
  }
}

async function readFrames(
  connection: Deno.TcpConn,
  take: (message: Uint8Array) => void,
): Promise<void> {
  const frames = new FrameReader();
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (
    let read = await connection.read(chunk);
    read !== null;
    read = await connection.read(chunk)
  ) {
    for (const message of frames.read(chunk.subarray(0, read))) take(message);
  }
  for (const message of frames.end()) take(message);
}

function makeRoom(open: Map<Deno.TcpConn, string>, address: string): void {
  const own = [...open].filter(([, from]) => from === address);
  const [oldest] = own.length >= MOST_OF_SOURCE ? own : open.size >= MOST_CONNECTIONS ? open : [];
  if (!oldest) return;
  open.delete(oldest[0]);
  endConnection(oldest[0]);
}

function endConnection(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}
