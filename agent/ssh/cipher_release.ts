import type { Socket } from "node:net";

/** What has a protocol and tells when a key exchange is complete: ssh2's client and a connection of its server. */
interface Peer {
  on(event: "handshake", listener: () => void): unknown;
}

/**
 * Ends the ciphers of an SSH peer when its socket is closed. ssh2 1.17 only drops them, but Deno keeps a cipher, and with it
 * the session's keys, until `final()` was called: about 2 kB for each session with a CTR or CBC cipher, for ever.
 */
export function releaseCiphers(peer: Peer, socket: Socket): void {
  const ciphers = new Set<Ending>();
  const collect = () => {
    for (const cipher of ciphersOf(peer)) ciphers.add(cipher);
  };
  // Every re-keying brings a new pair and forgets the old one.
  peer.on("handshake", collect);
  socket.once("close", () => {
    collect();
    for (const cipher of ciphers) end(cipher);
  });
}

interface Ending {
  final(): unknown;
}

/** There is no public way to them; where ssh2 keeps them differently, nothing is found and nothing is lost but memory. */
function ciphersOf(peer: unknown): readonly Ending[] {
  const protocol = property(peer, "_protocol");
  return [
    property(property(protocol, "_cipher"), "_cipherInstance"),
    property(property(protocol, "_decipher"), "_decipherInstance"),
  ].filter(isEnding);
}

function property(object: unknown, name: string): unknown {
  return typeof object === "object" && object !== null
    ? (object as Readonly<Record<string, unknown>>)[name]
    : undefined;
}

function isEnding(value: unknown): value is Ending {
  return typeof property(value, "final") === "function";
}

function end(cipher: Ending): void {
  try {
    cipher.final();
  } catch {
    // An unfinished block or a missing authentication tag: the cipher is let go of all the same.
  }
}
