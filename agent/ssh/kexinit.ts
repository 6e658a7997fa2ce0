import { Buffer } from "node:buffer";
import type { Socket } from "node:net";

/** The algorithms that a server offers in its KEXINIT (RFC 4253, section 7.1). */
export interface ServerOffer {
  readonly kex: readonly string[];
  readonly hostKey: readonly string[];
  readonly cipherToServer: readonly string[];
  readonly cipherToClient: readonly string[];
  readonly macToServer: readonly string[];
  readonly macToClient: readonly string[];
}

const KEXINIT = 20;
const MAX_BYTES = 128 * 1024;

/**
 * Reads along until the server's KEXINIT has gone by, before the socket is handed to ssh2: its error for "nothing in
 * common" does not say what the device offered. Returns a function that gives the offer, once seen.
 */
export function watchServerOffer(socket: Socket): () => ServerOffer | undefined {
  let bytes = Buffer.alloc(0);
  let offer: ServerOffer | undefined;
  function onData(chunk: Buffer): void {
    bytes = Buffer.concat([bytes, chunk]);
    offer = parseServerOffer(bytes);
    if (offer || bytes.length > MAX_BYTES) {
      socket.off("data", onData);
      bytes = Buffer.alloc(0);
    }
  }
  // ssh2 starts the flow; a listener on a flowing stream would swallow what comes before that.
  socket.pause();
  socket.on("data", onData);
  return () => offer;
}

/** The offer in what a server has sent so far, its identification line included; undefined when it is not there yet. */
export function parseServerOffer(bytes: Uint8Array): ServerOffer | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const ident = /^SSH-[^\n]*\n/m.exec(buffer.toString("latin1"));
  if (!ident) return undefined;
  let offset = ident.index + ident[0].length;
  // Packets are plain until the keys are agreed: uint32 length, byte padding length, payload, padding.
  while (offset + 6 <= buffer.length) {
    const end = offset + 4 + buffer.readUInt32BE(offset);
    if (end > buffer.length) return undefined;
    const payload = buffer.subarray(offset + 5, end - (buffer[offset + 4] ?? 0));
    if (payload[0] === KEXINIT) return readLists(payload);
    offset = end;
  }
  return undefined;
}

function readLists(payload: Buffer): ServerOffer | undefined {
  const lists: string[][] = [];
  // Behind the message number and the 16 bytes of cookie.
  let offset = 17;
  while (lists.length < 6) {
    if (offset + 4 > payload.length) return undefined;
    const end = offset + 4 + payload.readUInt32BE(offset);
    if (end > payload.length) return undefined;
    lists.push(payload.toString("latin1", offset + 4, end).split(",").filter((name) => name));
    offset = end;
  }
  const [kex = [], hostKey = [], cipherToServer = [], cipherToClient = [], ...macs] = lists;
  const [macToServer = [], macToClient = []] = macs;
  return { kex, hostKey, cipherToServer, cipherToClient, macToServer, macToClient };
}
