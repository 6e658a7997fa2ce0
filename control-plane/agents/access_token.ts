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

/** Reads an access token of ours; undefined when it is none, or over. */
export async function readAccessToken(
  keyRing: KeyRing,
  issuer: string,
  token: string,
): Promise<AccessToken | undefined> {
  try {
    const key = keyRing.signingPublicKey(decodeProtectedHeader(token).kid ?? "");
    if (!key) return undefined;
    const { payload } = await jwtVerify(token, key, {
      algorithms: ["Ed25519"],
      typ: TYPE,
      issuer,
      audience: issuer,
    });
    const { sub, bootId, cnf } = AccessClaims.parse(payload);
    return { agentId: sub, bootId, thumbprint: cnf.jkt };
  } catch {
    return undefined;
  }
}
