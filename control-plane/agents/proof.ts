import { createHash } from "node:crypto";
import { type JWTHeaderParameters, jwtVerify } from "jose";
import { z } from "zod";
import { SignJwk } from "@rookery/shared/api/agent_protocol.ts";
import type { ProofNonces } from "./proof_nonces.ts";
import { keyOf, rememberKey } from "./proof_keys.ts";

/** What a DPoP proof claims (RFC 9449, section 4.2). */
const ProofClaims = z.object({
  htm: z.string(),
  htu: z.string(),
  jti: z.string().min(1).max(100),
  nonce: z.string().optional(),
  ath: z.string().optional(),
});

export interface ProvenKey {
  readonly jwk: SignJwk;
  /** RFC 7638. */
  readonly thumbprint: string;
  /** The proof's own id. */
  readonly jti: string;
}

/** A proof that does not hold; `nonce` when a fresh nonce would mend it. */
export class ProofError extends Error {
  override name = "ProofError";
  readonly needsNonce: boolean;

  constructor(message: string, options: ErrorOptions & { needsNonce?: boolean } = {}) {
    super(message, options);
    this.needsNonce = options.needsNonce ?? false;
  }
}

export interface ProofRequest {
  readonly proof: string;
  readonly method: string;
  /** The address the agent must have meant: from ROOKERY_PUBLIC_URL, never from the Host header. */
  readonly url: string;
  readonly accessToken?: string;
}

/** Checks a DPoP proof and returns the key that made it. The nonce carries the time; `iat` is not looked at. */
export async function verifyProof(request: ProofRequest, nonces: ProofNonces): Promise<ProvenKey> {
  const { payload, protectedHeader } = await verifySignature(request.proof);
  const claims = ProofClaims.safeParse(payload);
  const jwk = SignJwk.safeParse(protectedHeader.jwk);
  if (!claims.success || !jwk.success) throw new ProofError("The proof lacks a claim");
  const key = await keyOf(jwk.data);
  rememberKey(jwk.data, key);
  const { htm, htu, ath, nonce, jti } = claims.data;
  if (htm !== request.method || htu !== request.url) {
    const wrong = `The proof is for ${htm} ${htu}, not for ${request.method} ${request.url}`;
    throw new ProofError(wrong + remedyFor(htu, request.url));
  }
  if (ath !== expectedTokenHash(request.accessToken)) {
    throw new ProofError("The proof is bound to another access token");
  }
  if (nonce === undefined || !await nonces.accepts(nonce)) {
    throw new ProofError("The proof needs the newest nonce", { needsNonce: true });
  }
  return { jwk: jwk.data, thumbprint: key.thumbprint, jti };
}

/** An agent that reached us under another name than the one we know has to be told ours: ROOKERY_PUBLIC_URL. */
function remedyFor(htu: string, url: string): string {
  const { origin } = new URL(url);
  return URL.parse(htu)?.origin === origin ? "" : `: enrol with --url ${origin}`;
}

async function verifySignature(proof: string) {
  try {
    return await jwtVerify(proof, embeddedKey, { algorithms: ["Ed25519"], typ: "dpop+jwt" });
  } catch (cause) {
    throw new ProofError("The proof's signature or type is wrong", { cause });
  }
}

/** A proof brings its key; whose it is, is for others to find out. */
async function embeddedKey({ jwk }: JWTHeaderParameters): Promise<CryptoKey> {
  return (await keyOf(SignJwk.parse(jwk))).publicKey;
}

function expectedTokenHash(accessToken: string | undefined): string | undefined {
  return accessToken === undefined
    ? undefined
    : createHash("sha256").update(accessToken).digest("base64url");
}
