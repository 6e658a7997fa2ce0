import { z } from "zod";
import { SealJwk, SignJwk } from "./api/agent_protocol.ts";
import { AgentId } from "./ids.ts";

/** The JWS type of both signatures under a rotation. */
export const ROTATION_TYPE = "rookery-key-rotation+jwt";

/**
 * What an agent states to get new keys, once signed by the old and once by the new signing key (JWS, Ed25519, typ
 * `rookery-key-rotation+jwt`). The same new keys again are the same rotation.
 */
export const RotationClaims = z.strictObject({
  iss: AgentId,
  /** The issuer that the enrolment named. */
  aud: z.string(),
  /** RFC 7638 thumbprint of the signing key that is replaced. */
  oldThumbprint: z.string(),
  signJwk: SignJwk,
  sealJwk: SealJwk,
}).meta({ id: "RotationClaims" });
export type RotationClaims = z.infer<typeof RotationClaims>;
