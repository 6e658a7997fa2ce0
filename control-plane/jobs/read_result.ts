import { compactVerify, importJWK, type JWK } from "jose";
import type { AgentId, LeaseId } from "@rookery/shared/ids.ts";
import { RESULT_TYPE, ResultClaims } from "@rookery/shared/jobs/result.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";

export interface ResultSource {
  readonly agentId: AgentId;
  readonly leaseId: LeaseId;
  readonly issuer: string;
  /** The keys that may have signed it, the likeliest first: results outlive rotations. */
  readonly signJwks: readonly JWK[];
}

/** Checks that a result is this agent's word about this lease; a ProblemError names what is wrong. */
export async function readResult(token: string, from: ResultSource): Promise<ResultClaims> {
  const claims = readClaims(await verifySignature(token, from.signJwks));
  const wrong = [
    claims.iss !== from.agentId && "iss",
    claims.aud !== from.issuer && "aud",
    claims.jti !== from.leaseId && "jti",
  ].find((field) => field !== false);
  if (wrong) throw refused(`its ${wrong} is not that of this request`);
  return claims;
}

async function verifySignature(token: string, jwks: readonly JWK[]): Promise<Uint8Array> {
  let cause: unknown;
  for (const jwk of jwks) {
    try {
      const key = await importJWK(jwk, "Ed25519");
      const { payload, protectedHeader } = await compactVerify(token, key, {
        algorithms: ["Ed25519"],
      });
      if (protectedHeader.typ === RESULT_TYPE) return payload;
    } catch (error) {
      cause = error;
    }
  }
  throw refused(WRONG_FORM, cause);
}

function readClaims(payload: Uint8Array): ResultClaims {
  try {
    return ResultClaims.parse(JSON.parse(new TextDecoder().decode(payload)));
  } catch (cause) {
    throw refused(WRONG_FORM, cause);
  }
}

const WRONG_FORM = "its signature or its form is wrong";

function refused(why: string, cause?: unknown): ProblemError {
  return refusedField("#/result", why, cause);
}
