/** The keys of simulated agents: made from their numbers, so that whoever fills the database and whoever plays them agree. */
import { Buffer } from "node:buffer";
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { SealJwk, SignJwk } from "@rookery/shared/api/agent_protocol.ts";

const PKCS8 = {
  Ed25519: "302e020100300506032b657004220420",
  X25519: "302e020100300506032b656e04220420",
};

export interface SimKey {
  readonly privateKey: KeyObject;
  readonly publicJwk: SignJwk;
}

function keyOf(curve: keyof typeof PKCS8, name: string): KeyObject {
  const seed = createHash("sha256").update(name).digest();
  const key = Buffer.concat([Buffer.from(PKCS8[curve], "hex"), seed]);
  return createPrivateKey({ key, format: "der", type: "pkcs8" });
}

/** The signing key of an agent. */
export function signingKey(number: number): SimKey {
  const privateKey = keyOf("Ed25519", `bench agent ${number}`);
  const publicJwk = SignJwk.parse(createPublicKey(privateKey).export({ format: "jwk" }));
  return { privateKey, publicJwk };
}

/** One sealing key for all: what is sealed to it costs the control plane the same. */
export function sealingKey(): { readonly privateKey: KeyObject; readonly publicJwk: SealJwk } {
  const privateKey = keyOf("X25519", "bench agents");
  return {
    privateKey,
    publicJwk: SealJwk.parse(createPublicKey(privateKey).export({ format: "jwk" })),
  };
}

/** RFC 7638. */
export function thumbprintOf({ crv, kty, x }: SignJwk): string {
  return createHash("sha256").update(JSON.stringify({ crv, kty, x })).digest("base64url");
}
