import { z } from "zod";

const Bytes32 = z.base64url().length(43);
const Kid = z.string().min(1);

/** Version 1 knew neither times nor retirement: a key without them is as old as it says and has never been changed. */
const Life = {
  createdAt: z.iso.datetime(),
  active: z.boolean(),
  activatedAt: z.iso.datetime().optional(),
  replacedAt: z.iso.datetime().optional(),
  retiredAt: z.iso.datetime().optional(),
} as const;

/** The private half `d` is erased when the key is retired; the public half stays, for whoever still pins it. */
const SigningJwk = z.strictObject({
  kty: z.literal("OKP"),
  crv: z.literal("Ed25519"),
  x: Bytes32,
  d: Bytes32.optional(),
});
const SealingJwk = z.strictObject({ ...SigningJwk.shape, crv: z.literal("X25519") });

const SigningKey = z.strictObject({
  ...Life,
  kid: Kid,
  jwk: SigningJwk,
  /** A JWS by the key that was active when this one was made (`KeyStatement`); the first key has none. */
  statement: z.string().optional(),
});
const SealingKey = z.strictObject({ ...Life, kid: Kid, jwk: SealingJwk });
const Kek = z.strictObject({ ...Life, id: z.string().min(1).max(60), key: Bytes32 });

/** Exactly one key of a list is active: it signs, seals or wraps; the others only verify, open and unwrap. */
function withOneActive<Key extends { readonly active: boolean }>(keys: readonly Key[]): boolean {
  return keys.filter((key) => key.active).length === 1;
}
const ONE_ACTIVE = "must have exactly one active key";

/** Only a retired key may lack its private half, and the active one is not retired. */
function withPrivateHalves(
  keys: readonly z.infer<typeof SigningKey | typeof SealingKey>[],
): boolean {
  return keys.every((key) => key.retiredAt === undefined ? key.jwk.d !== undefined : !key.active);
}
const PRIVATE_HALVES = "lacks a private key";

/** What stands in the key file. Private: nothing but this folder reads it. */
export const KeyFile = z.strictObject({
  version: z.literal([1, 2]),
  /** Rises with every change, so that a replica sees which of two files is newer. */
  generation: z.int().min(1).default(1),
  signing: z.array(SigningKey).refine(withOneActive, ONE_ACTIVE)
    .refine(withPrivateHalves, PRIVATE_HALVES),
  sealing: z.array(SealingKey).refine(withOneActive, ONE_ACTIVE)
    .refine(withPrivateHalves, PRIVATE_HALVES),
  kek: z.array(Kek)
    .refine(withOneActive, ONE_ACTIVE)
    .refine((keys) => new Set(keys.map((key) => key.id)).size === keys.length, "repeats an id"),
  /** The root from which per-device and other keys are derived; it never encrypts by itself. */
  derivation: z.strictObject({ key: Bytes32 }),
});
export type KeyFile = z.infer<typeof KeyFile>;
export type SigningKey = z.infer<typeof SigningKey>;
export type SealingKey = z.infer<typeof SealingKey>;
export type Kek = z.infer<typeof Kek>;
