import { calculateJwkThumbprint, importJWK } from "jose";
import type { SignJwk } from "@rookery/shared/api/agent_protocol.ts";

/** A public key ready to verify with, and its name. */
export interface ImportedKey {
  readonly publicKey: CryptoKey;
  /** RFC 7638. */
  readonly thumbprint: string;
}

/** So many agents of one replica are remembered at least, and twice as many at most. */
const REMEMBERED = 20_000;

let newer = new Map<string, ImportedKey>();
let older = new Map<string, ImportedKey>();

/**
 * The key of a JWK: remembered, because importing it and hashing its name would cost as much as verifying with it, at every
 * request of every agent. It is a function of the JWK alone, so nothing that is remembered can be wrong later.
 */
export async function keyOf(jwk: SignJwk): Promise<ImportedKey> {
  return newer.get(jwk.x) ?? older.get(jwk.x) ?? await importKey(jwk);
}

/** Remembers a key that signed something: one that only claims to exist is not worth the memory. */
export function rememberKey({ x }: SignJwk, key: ImportedKey): void {
  if (newer.has(x)) return;
  if (newer.size >= REMEMBERED) {
    older = newer;
    newer = new Map();
  }
  newer.set(x, key);
}

async function importKey(jwk: SignJwk): Promise<ImportedKey> {
  const publicKey = await importJWK(jwk, "Ed25519");
  if (publicKey instanceof Uint8Array) throw new TypeError("Cannot verify with a symmetric key");
  return { publicKey, thumbprint: await calculateJwkThumbprint(jwk) };
}
