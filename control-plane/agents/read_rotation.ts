import { calculateJwkThumbprint, compactVerify, importJWK, type JWK } from "jose";
import type { AgentId } from "@rookery/shared/ids.ts";
import { ROTATION_TYPE, RotationClaims } from "@rookery/shared/key_rotation.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";

/** One statement under two signatures. */
export interface SignedRotation {
  readonly byOld: string;
  readonly byNew: string;
}

export interface RotationSource {
  readonly agentId: AgentId;
  readonly issuer: string;
  readonly oldThumbprint: string;
  readonly oldJwk: JWK;
}

/** Checks that the holder of the old key and the holder of the new one say the same; a ProblemError names what is wrong. */
export async function readRotation(
  { byOld, byNew }: SignedRotation,
  from: RotationSource,
): Promise<{ claims: RotationClaims; thumbprint: string }> {
  const claims = await readSigned(byOld, from.oldJwk, "byOld");
  if (byNew.split(".")[1] !== byOld.split(".")[1]) {
    throw refused("byNew", "does not sign the statement of byOld");
  }
  await readSigned(byNew, claims.signJwk, "byNew");
  const thumbprint = await calculateJwkThumbprint(claims.signJwk);
  const wrong = [
    claims.iss !== from.agentId && "iss",
    claims.aud !== from.issuer && "aud",
    claims.oldThumbprint !== from.oldThumbprint && "oldThumbprint",
    thumbprint === from.oldThumbprint && "signJwk",
  ].find((field) => field !== false);
  if (wrong) throw refused("byOld", `its ${wrong} is not that of this request`);
  return { claims, thumbprint };
}

async function readSigned(
  token: string,
  jwk: JWK,
  field: "byOld" | "byNew",
): Promise<RotationClaims> {
  try {
    const key = await importJWK(jwk, "Ed25519");
    const { payload, protectedHeader } = await compactVerify(token, key, {
      algorithms: ["Ed25519"],
    });
    if (protectedHeader.typ !== ROTATION_TYPE) throw new TypeError("wrong type");
    return RotationClaims.parse(JSON.parse(new TextDecoder().decode(payload)));
  } catch (cause) {
    throw refused(field, "its signature or its form is wrong", cause);
  }
}

function refused(field: "byOld" | "byNew", detail: string, cause?: unknown): ProblemError {
  return refusedField(`#/${field}`, detail, cause);
}
