/** Key rotations by hand: the bare statement, and state folders as a killed process leaves them. */
import { join } from "node:path";
import { calculateJwkThumbprint, CompactSign } from "jose";
import { ROTATION_TYPE } from "@rookery/shared/key_rotation.ts";
import { makeKeys, privateKey } from "../../agent/enroll.ts";
import { type AgentIdentity, type PendingKeys, StateFolder } from "../../agent/state_folder.ts";
import type { EnrolledAgent } from "./agent_bench.ts";

type Jwk = Record<string, string>;

export function publicOf({ d: _, ...jwk }: Jwk): Jwk {
  return jwk;
}

/** The body of a rotation from an agent's keys to `next`; `changes` are put over what it states. */
export async function rotationBody(
  identity: AgentIdentity,
  next: PendingKeys,
  options: { claims?: Record<string, unknown>; typ?: string; byOld?: Jwk; byNew?: Jwk } = {},
): Promise<{ byOld: string; byNew: string }> {
  const statement = JSON.stringify({
    iss: identity.agentId,
    aud: identity.issuer,
    oldThumbprint: await calculateJwkThumbprint(publicOf(identity.signKey)),
    signJwk: publicOf(next.signKey),
    sealJwk: publicOf(next.sealKey),
    ...options.claims,
  });
  const sign = async (jwk: Jwk) =>
    await new CompactSign(new TextEncoder().encode(statement))
      .setProtectedHeader({ alg: "Ed25519", typ: options.typ ?? ROTATION_TYPE })
      .sign(await privateKey(jwk, "Ed25519"));
  return {
    byOld: await sign(options.byOld ?? identity.signKey),
    byNew: await sign(options.byNew ?? next.signKey),
  };
}

export async function proofKeyOf({ signKey }: PendingKeys) {
  return {
    privateKey: await privateKey(signKey, "Ed25519"),
    publicJwk: publicOf(signKey) as never,
  };
}

export { makeKeys };

/** Copies a state folder as it stands on disk now: what a process leaves that is killed at this moment. */
export async function copyState(state: StateFolder): Promise<EnrolledAgent> {
  const parent = await Deno.makeTempDir({ prefix: "rookery-copy-" });
  const path = join(parent, "state");
  await Deno.mkdir(path, { mode: 0o700 });
  for await (const { name, isFile } of Deno.readDir(state.path)) {
    if (!isFile || name === "lock") continue;
    try {
      await Deno.copyFile(join(state.path, name), join(path, name));
    } catch (error) {
      // The agent runs: a file that it was still writing has its real name by now, and is read under that one.
      if (!(error instanceof Deno.errors.NotFound && name.endsWith(".new"))) throw error;
    }
  }
  const copy = await StateFolder.open(path);
  const identity = await copy.readIdentity();
  if (!identity) throw new Error("The copied folder holds no identity");
  return {
    state: copy,
    identity,
    [Symbol.asyncDispose]: () => Deno.remove(parent, { recursive: true }),
  };
}
