import { calculateJwkThumbprint, exportJWK, generateKeyPair } from "jose";
import type { Kek, KeyFile, SealingKey, SigningKey } from "./key_file_schema.ts";

/** When a key is made, and whether it is used from then on. */
export interface Birth {
  readonly now: Temporal.Instant;
  readonly active: boolean;
}

/** A fresh set of keys. */
export async function makeKeys(now = Temporal.Now.instant()): Promise<KeyFile> {
  const birth = { now, active: true };
  return {
    version: 2,
    generation: 1,
    signing: [await makeSigningKey(birth)],
    sealing: [await makeSealingKey(birth)],
    kek: [makeKek(birth)],
    derivation: { key: randomBase64Url(32) },
  };
}

export async function makeSigningKey(birth: Birth): Promise<SigningKey> {
  const jwk = { crv: "Ed25519" as const, ...await makePrivateHalf("Ed25519") };
  return { ...lifeOf(birth), kid: await calculateJwkThumbprint(jwk), jwk };
}

export async function makeSealingKey(birth: Birth): Promise<SealingKey> {
  const jwk = { crv: "X25519" as const, ...await makePrivateHalf("X25519") };
  return { ...lifeOf(birth), kid: await calculateJwkThumbprint(jwk), jwk };
}

export function makeKek(birth: Birth): Kek {
  return { ...lifeOf(birth), id: `kek-${randomBase64Url(6)}`, key: randomBase64Url(32) };
}

function lifeOf({ now, active }: Birth) {
  const at = timeOf(now);
  return { createdAt: at, active, ...(active ? { activatedAt: at } : {}) };
}

/** As the key file writes times. */
export function timeOf(now: Temporal.Instant): string {
  return now.toString({ smallestUnit: "millisecond" });
}

async function makePrivateHalf(crv: "Ed25519" | "X25519") {
  const { privateKey } = await generateKeyPair(crv === "X25519" ? "ECDH-ES" : "Ed25519", {
    crv,
    extractable: true,
  });
  const { x, d } = await exportJWK(privateKey);
  if (x === undefined || d === undefined) throw new TypeError(`Cannot make a key of ${crv}`);
  return { kty: "OKP" as const, x, d };
}

function randomBase64Url(bytes: number): string {
  return crypto.getRandomValues(new Uint8Array(bytes))
    .toBase64({ alphabet: "base64url", omitPadding: true });
}
