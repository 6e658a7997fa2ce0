/** Joining by hand: the bare protocol, with keys that a test makes itself. */
import { exportJWK, generateKeyPair } from "jose";
import { enrollAgent, type SignJwk } from "@rookery/shared/api/agent_protocol.ts";
import { call } from "@rookery/shared/client.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { ownVersions, ProvenSender } from "../../agent/control_plane.ts";
import type { ProofKey } from "../../agent/dpop.ts";
import { enroll } from "../../agent/enroll.ts";
import type { StateFolder } from "../../agent/state_folder.ts";
import type { TestControlPlane } from "./control_plane.ts";
import { Wire } from "./wire.ts";

/** Enrols as the agent does. */
export function joinWith(
  plane: TestControlPlane,
  joinToken: string,
  { state, wire = new Wire(plane) }: { readonly state: StateFolder; readonly wire?: Wire },
) {
  const { signal } = new AbortController();
  return enroll(
    { controlPlaneUrl: plane.publicUrl, joinToken },
    { state, send: wire.send, signal },
  );
}

export async function makeKey(): Promise<ProofKey> {
  const { privateKey, publicKey } = await generateKeyPair("Ed25519");
  return { privateKey, publicJwk: await exportJWK(publicKey) as SignJwk };
}

async function sealJwk() {
  const { publicKey } = await generateKeyPair("ECDH-ES", { crv: "X25519" });
  const { x = "" } = await exportJWK(publicKey);
  return { kty: "OKP", crv: "X25519", x } as const;
}

/** Enrols by the bare protocol: what `claimed` says is signed by `prover`. */
export async function enrolAs(
  plane: TestControlPlane,
  joinToken: string,
  { prover, claimed = prover.publicJwk }: {
    readonly prover: ProofKey;
    readonly claimed?: SignJwk;
  },
) {
  const sender = new ProvenSender(prover, new Wire(plane).send);
  const body = { joinToken, signJwk: claimed, sealJwk: await sealJwk(), ...await ownVersions() };
  return await call((request) => sender.send(request), plane.publicUrl, enrollAgent, { body });
}

/** For `assert.rejects`: whether an error is this problem. */
export function refusedAs(type: ProblemType) {
  return (error: unknown) => error instanceof ProblemError && error.type === type;
}
