import { decodeProtectedHeader, jwtVerify, SignJWT } from "jose";
import { z } from "zod";
import { AgentId, BootId } from "@rookery/shared/ids.ts";
import type { KeyRing } from "../keys/key_ring.ts";

/** How long an access token lives. */
export const ACCESS_TOKEN_SECONDS = 300;
const TYPE = "rookery-access+jwt";

const AccessClaims = z.object({
  sub: AgentId,
  bootId: BootId,
  cnf: z.object({ jkt: z.string() }),
  exp: z.int(),
});

export interface AccessToken {
  readonly agentId: AgentId;
  readonly bootId: BootId;
  /** Thumbprint of the only key whose proofs may come with this token. */
  readonly thumbprint: string;
}

/** Signs an access token that is worth nothing without the agent's key (RFC 9449, section 6). */
export function signAccessToken(
  keyRing: KeyRing,
  issuer: string,
  token: AccessToken,
): Promise<string> {
  return new SignJWT({ bootId: token.bootId, cnf: { jkt: token.thumbprint } })
    .setProtectedHeader({ alg: "Ed25519", typ: TYPE, kid: keyRing.signing.kid })
    .setIssuer(issuer).setAudience(issuer).setSubject(token.agentId)
    .setIssuedAt().setExpirationTime(`${ACCESS_TOKEN_SECONDS}s`)
    .sign(keyRing.signing.privateKey);
}

/** What was once verified, by the token itself: it says the same until it is over. */
interface ReadToken {
  readonly token: AccessToken;
  readonly kid: string;
  readonly key: CryptoKey;
  readonly expiresAtMs: number;
}

/** One per agent and renewal is read; twice as many are remembered at most. */
const REMEMBERED = 20_000;
let newer = new Map<string, ReadToken>();
let older = new Map<string, ReadToken>();

/**
 * Reads an access token of ours; undefined when it is none, or over. Its signature is verified once: an agent sends the same
 * token for minutes. A key that is no longer ours ends what it has signed.
 */
export async function readAccessToken(
  keyRing: KeyRing,
  issuer: string,
  token: string,
): Promise<AccessToken | undefined> {
  const name = `${issuer} ${token}`;
  const known = newer.get(name) ?? older.get(name);
  if (known && keyRing.signingPublicKey(known.kid) === known.key) {
    return Date.now() < known.expiresAtMs ? known.token : undefined;
  }
  const read = await verifyToken(keyRing, issuer, token);
  if (!read) return undefined;
  if (newer.size >= REMEMBERED) {
    older = newer;
    newer = new Map();
  }
  newer.set(name, read);
  return read.token;
}

async function verifyToken(
  keyRing: KeyRing,
  issuer: string,
  token: string,
): Promise<ReadToken | undefined> {
  try {
    const { kid = "" } = decodeProtectedHeader(token);
    const key = keyRing.signingPublicKey(kid);
    if (!key) return undefined;
    const { payload } = await jwtVerify(token, key, {
      algorithms: ["Ed25519"],
      typ: TYPE,
      issuer,
      audience: issuer,
      requiredClaims: ["exp"],
    });
    const { sub, bootId, cnf, exp } = AccessClaims.parse(payload);
    const read = { agentId: sub, bootId, thumbprint: cnf.jkt };
    return { token: read, kid, key, expiresAtMs: exp * 1_000 };
  } catch {
    return undefined;
  }
}
