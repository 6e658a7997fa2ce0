import { z } from "zod";
import { SealJwk, SignJwk } from "./api/agent_protocol.ts";

/** The `typ` of a statement about a key of the control plane; no other JWS of ours has it. */
export const KEY_STATEMENT_TYPE = "rookery-key+jwt";

const Said = {
  /** The installation, as in leases. */
  iss: z.string().min(1).max(200),
  /** The key's place among those of its use, from 1: a higher one is newer. */
  sequence: z.int().min(1),
} as const;

/**
 * What the control plane says about one of its own keys, as a JWS (`Ed25519`) by a signing key that agents trust already.
 * `trusted`: take it as good as the one that signed this. `replaced`: still ours, but it signs nothing new. `retired`: drop
 * it. A key is named by its RFC 7638 thumbprint, which is its `kid`.
 */
export const KeyStatement = z.discriminatedUnion("use", [
  z.strictObject({
    ...Said,
    use: z.literal("sig"),
    status: z.enum(["trusted", "replaced", "retired"]),
    jwk: SignJwk,
  }),
  z.strictObject({ ...Said, use: z.literal("enc"), status: z.literal("trusted"), jwk: SealJwk }),
]);
export type KeyStatement = z.infer<typeof KeyStatement>;
