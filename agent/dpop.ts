import { SignJWT } from "jose";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { SignJwk } from "@rookery/shared/api/agent_protocol.ts";

export interface ProofKey {
  readonly privateKey: CryptoKey;
  readonly publicJwk: SignJwk;
}

export interface ProofTarget {
  readonly method: string;
  readonly url: string;
  readonly nonce?: string;
  readonly accessToken?: string;
}

/**
 * Proves possession of the agent's key for one request (RFC 9449, typ `dpop+jwt`). The server's nonce
 * carries the time, so the agent's own clock is trusted for nothing; `iat` is there because the RFC asks.
 */
export async function makeProof(key: ProofKey, target: ProofTarget): Promise<string> {
  const { origin, pathname } = new URL(target.url);
  return await new SignJWT({
    htm: target.method,
    htu: `${origin}${pathname}`,
    jti: crypto.randomUUID(),
    ...(target.nonce === undefined ? {} : { nonce: target.nonce }),
    ...(target.accessToken === undefined ? {} : { ath: await tokenHash(target.accessToken) }),
  })
    .setProtectedHeader({ alg: "Ed25519", typ: "dpop+jwt", jwk: { ...key.publicJwk } })
    .setIssuedAt()
    .sign(key.privateKey);
}

/** RFC 9449, section 4.2: base64url of the SHA-256 of the access token. */
async function tokenHash(accessToken: string): Promise<string> {
  return Uint8Array.fromHex(await sha256(accessToken))
    .toBase64({ alphabet: "base64url", omitPadding: true });
}
