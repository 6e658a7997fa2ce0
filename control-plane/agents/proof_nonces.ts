import type { KeyRing } from "../keys/key_ring.ts";

/** A nonce is good in the bucket it was made in and in the next one: five to ten minutes. */
const BUCKET_MS = 5 * 60_000;

/** Hands out and checks the nonces of DPoP proofs, without storing any: all replicas agree on them. */
export interface ProofNonces {
  current(): Promise<string>;
  accepts(nonce: string): Promise<boolean>;
}

/** A nonce is an HMAC of the five-minute bucket it was made in, under a key derived from the key file. */
export async function createProofNonces(
  keyRing: KeyRing,
  now: () => number = Date.now,
): Promise<ProofNonces> {
  const key = await crypto.subtle.importKey(
    "raw",
    await keyRing.deriveKey("dpop-nonce", ""),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  const made = new Map<number, Promise<string>>();
  // Every request of every agent asks for the same two.
  function nonceOf(bucket: number): Promise<string> {
    for (const old of made.keys()) if (Math.abs(old - bucket) > 1) made.delete(old);
    const nonce = made.get(bucket) ?? makeNonce(bucket);
    made.set(bucket, nonce);
    return nonce;
  }
  async function makeNonce(bucket: number): Promise<string> {
    const mac = await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(String(bucket)));
    return new Uint8Array(mac, 0, 24).toBase64({ alphabet: "base64url" });
  }
  const bucket = () => Math.floor(now() / BUCKET_MS);
  return {
    current: () => nonceOf(bucket()),
    async accepts(nonce) {
      return nonce === await nonceOf(bucket()) || nonce === await nonceOf(bucket() - 1);
    },
  };
}
