import { calculateJwkThumbprint, CompactSign } from "jose";
import { rotateAgentKeys, SealJwk, SignJwk } from "@rookery/shared/api/agent_protocol.ts";
import { ROTATION_TYPE, type RotationClaims } from "@rookery/shared/key_rotation.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { AgentKeys } from "./agent_keys.ts";
import { type Clock, jitteredMs } from "./clock.ts";
import type { ControlPlane } from "./control_plane.ts";
import { makeKeys } from "./enroll.ts";
import { errorText, type Log } from "./log.ts";
import type { AgentIdentity, PendingKeys, StateFolder } from "./state_folder.ts";

const RETRY = { baseMs: 1_000, capMs: 30_000 };
/** After so many failures the next session asks again. */
const TRIES = 5;
const REQUEST_TIMEOUT_MS = 30_000;

export interface RotationOptions {
  readonly state: StateFolder;
  readonly identity: AgentIdentity;
  readonly keys: AgentKeys;
  readonly controlPlane: ControlPlane;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * Changes the agent's keys when the control plane asks for it. New keys are on disk before they are sent, so that a lost
 * reply is repeated with the same ones, and a process that was killed finds them (see `openByKnownKey`).
 */
export class KeyRotation {
  readonly #options: RotationOptions;
  #running: Promise<void> | undefined;

  constructor(options: RotationOptions) {
    this.#options = options;
  }

  /** Starts a rotation unless one runs. */
  ask(): void {
    this.#running ??= rotateWithPatience(this.#options).finally(() => this.#running = undefined);
  }

  /** Resolves when no rotation runs. */
  async idle(): Promise<void> {
    await this.#running;
  }
}

async function rotateWithPatience(options: RotationOptions): Promise<void> {
  const { clock, log, signal } = options;
  for (let tries = 0; tries < TRIES && !signal.aborted; tries++) {
    try {
      await rotate(options);
      return log("info", "keys_rotated");
    } catch (error) {
      if (signal.aborted) return;
      log("warn", "key_rotation_failed", { reason: errorText(error) });
      if (isUsed(error)) await options.state.removeNextKeys().catch(() => {});
      await clock.sleep(200 + jitteredMs(tries, RETRY), { signal });
    }
  }
}

/** The control plane had these keys before: whoever else has them, they are no new ones. */
function isUsed(error: unknown): boolean {
  return error instanceof ProblemError && error.type === "conflict";
}

async function rotate(options: RotationOptions): Promise<void> {
  const { state, controlPlane } = options;
  const next = await state.readNextKeys() ?? await makeNextKeys(state);
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
  const body = await signRotation(options, next);
  await controlPlane.call(rotateAgentKeys, { body }, { signal });
  await adopt(options, next);
  // The first use is what ends the old keys: nothing is gained by waiting for it.
  await controlPlane.session({ signal });
}

async function makeNextKeys(state: StateFolder): Promise<PendingKeys> {
  const keys = await makeKeys();
  await state.writeNextKeys(keys);
  return keys;
}

async function adopt(
  { state, keys, controlPlane }: RotationOptions,
  next: PendingKeys,
): Promise<void> {
  await state.adoptKeys(next);
  await keys.adopt(next);
  await controlPlane.useKey(keys.proofKey);
}

async function signRotation(
  { identity, keys }: RotationOptions,
  next: PendingKeys,
): Promise<{ byOld: string; byNew: string }> {
  const { d: _sign, ...signJwk } = next.signKey;
  const { d: _seal, ...sealJwk } = next.sealKey;
  const claims: RotationClaims = {
    iss: identity.agentId,
    aud: identity.issuer,
    oldThumbprint: await calculateJwkThumbprint(keys.proofKey.publicJwk),
    signJwk: SignJwk.parse(signJwk),
    sealJwk: SealJwk.parse(sealJwk),
  };
  // Serialised once: both signatures are under the very same bytes.
  const statement = new TextEncoder().encode(JSON.stringify(claims));
  const { signKey } = await AgentKeys.open(next);
  const [byOld, byNew] = await Promise.all(
    [keys.signKey, signKey].map((key) =>
      new CompactSign(statement).setProtectedHeader({ alg: "Ed25519", typ: ROTATION_TYPE }).sign(
        key,
      )
    ),
  );
  return { byOld: byOld ?? "", byNew: byNew ?? "" };
}

/**
 * Opens the first session of a boot by whichever of the agent's keys the control plane knows: new ones of a rotation that
 * was cut short; the ones in force; or the former ones, when the control plane was restored from an older backup.
 */
export async function openByKnownKey(options: RotationOptions): Promise<void> {
  const { state, keys, controlPlane, signal } = options;
  const { next, current, former } = await state.readAllKeys();
  let refusal: unknown;
  for (const candidate of [next, current, former]) {
    if (!candidate) continue;
    const opened = await AgentKeys.open(candidate);
    await controlPlane.useKey(opened.proofKey);
    try {
      await controlPlane.session({ signal });
    } catch (error) {
      if (!isUnknown(error)) throw error;
      // What the key in force was refused for says most.
      if (refusal === undefined || candidate === current) refusal = error;
      continue;
    }
    if (candidate === current) return await state.removeNextKeys();
    await state.adoptKeys(candidate);
    return await keys.adopt(candidate);
  }
  throw refusal;
}

function isUnknown(error: unknown): boolean {
  return error instanceof ProblemError && error.type === "agent-revoked";
}
