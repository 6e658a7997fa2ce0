import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK } from "jose";
import { call } from "@rookery/shared/client.ts";
import {
  type ControlPlaneJwk,
  enrollAgent,
  JoinToken,
  readSigningKeys,
  SealJwk,
  SignJwk,
} from "@rookery/shared/api/agent_protocol.ts";
import { ownVersions, ProvenSender, type Send } from "./control_plane.ts";
import { checkedUrl } from "./http.ts";
import { learnKeys, type OfferedKeys } from "./key_chain.ts";
import type { AgentIdentity, PendingKeys, StateFolder } from "./state_folder.ts";

/** The agent cannot be enrolled; the message says what to do. */
export class EnrolmentError extends Error {
  override name = "EnrolmentError";
}

export interface EnrolmentOrder {
  readonly controlPlaneUrl: string;
  readonly joinToken: string;
}

/**
 * Enrols this agent: makes its keys here, joins with a one-time token, and pins the control plane's signing
 * key that the token names. A repetition after a lost reply uses the same keys and is the same agent.
 */
export async function enroll(
  order: EnrolmentOrder,
  { state, send, signal, onPending = () => {} }: {
    state: StateFolder;
    send: Send;
    signal: AbortSignal;
    /** Told the fingerprint when somebody has to approve it before the agent can do anything. */
    onPending?: (fingerprint: string) => void;
  },
): Promise<AgentIdentity> {
  if (await state.readIdentity()) {
    throw new EnrolmentError(
      `Cannot enrol: ${state.path} belongs to an enrolled agent. Use another folder, or remove it.`,
    );
  }
  const base = checkedUrl(order.controlPlaneUrl);
  const joinToken = checkedToken(order.joinToken);
  const offered = await checkBeforeSending({ base, joinToken }, send, signal);
  const keys = await pendingKeys(state);
  const { status, ...reply } = await join({ base, joinToken, keys }, send, signal);
  // Only the key that the token names: the others in the reply are as good as whoever sent it.
  const pinned = await pinnedKey(joinToken, reply.signingKeys);
  if (!pinned) throw impostor(base);
  const signingKeys = [pinned];
  const identity: AgentIdentity = {
    version: 1,
    controlPlaneUrl: base,
    ...reply,
    signingKeys,
    sealingKey: await vouchedSealingKey({ base, signingKeys, reply }, offered),
    ...keys,
  };
  await state.writeIdentity(identity);
  if (status === "pending") onPending(await fingerprintOf(keys));
  return identity;
}

function checkedToken(joinToken: string): string {
  const parsed = JoinToken.safeParse(joinToken.trim());
  if (parsed.success) return parsed.data;
  throw new EnrolmentError("Cannot use the join token: it must be rkj_….… as it was printed");
}

/** Kept on disk before they are sent, so that a lost reply does not burn the token. */
async function pendingKeys(state: StateFolder): Promise<PendingKeys> {
  const kept = await state.readPendingKeys();
  if (kept) return kept;
  const keys = await makeKeys();
  await state.writePendingKeys(keys);
  return keys;
}

/** Makes the two key pairs of an agent; nobody else ever has their private halves. */
export async function makeKeys(): Promise<PendingKeys> {
  const sign = await generateKeyPair("Ed25519", { extractable: true });
  const seal = await generateKeyPair("ECDH-ES", { crv: "X25519", extractable: true });
  const [signKey, sealKey] = await Promise.all([
    exportJWK(sign.privateKey),
    exportJWK(seal.privateKey),
  ]);
  return { signKey, sealKey } as PendingKeys;
}

/** What people compare when they approve an agent: the RFC 7638 thumbprint of its signing key. */
export function fingerprintOf({ signKey }: PendingKeys): Promise<string> {
  const { d: _, ...publicJwk } = signKey;
  return calculateJwkThumbprint(publicJwk);
}

async function join(
  request: { base: string; joinToken: string; keys: PendingKeys },
  send: Send,
  signal: AbortSignal,
) {
  const { d: _sign, ...signJwk } = request.keys.signKey;
  const { d: _seal, ...sealJwk } = request.keys.sealKey;
  const sender = new ProvenSender(
    { privateKey: await privateKey(request.keys.signKey, "Ed25519"), publicJwk: signJwk },
    send,
  );
  const body = {
    joinToken: request.joinToken,
    signJwk: SignJwk.parse(signJwk),
    sealJwk: SealJwk.parse(sealJwk),
    ...await ownVersions(),
  };
  return await call((sent) => sender.send(sent), request.base, enrollAgent, { body }, { signal });
}

/** The key whose thumbprint the administrator handed over with the token. */
async function pinnedKey(
  joinToken: string,
  keys: readonly ControlPlaneJwk[],
): Promise<ControlPlaneJwk | undefined> {
  const pinned = joinToken.split(".")[1] ?? "";
  for (const { kid: _, ...jwk } of keys) {
    if (await calculateJwkThumbprint(jwk) === pinned) return { ...jwk, kid: pinned };
  }
  return undefined;
}

/**
 * A token whose second half was damaged on its way, or a wrong address, would cost the token: the control plane looks at
 * the first half only. The keys are public, so this proves nothing and nothing of it is kept unverified: only their thumbprints
 * are compared.
 */
async function checkBeforeSending(
  { base, joinToken }: { base: string; joinToken: string },
  send: Send,
  signal: AbortSignal,
): Promise<OfferedKeys> {
  const offered = await call(send, base, readSigningKeys, {}, { signal });
  if (await pinnedKey(joinToken, offered.keys)) return offered;
  throw new EnrolmentError(
    `Cannot enrol: ${base} is not the control plane that made the join token, or the part of the token after the ` +
      "dot is damaged. The token was not sent and is still good: copy it whole, and check --url.",
  );
}

/**
 * The key that results are sealed to, by the word of the pinned key or of one that it leads to: the one in the reply is as
 * good as whoever sent it, and would open everything that this agent keeps.
 */
async function vouchedSealingKey(
  { base, signingKeys, reply: { issuer, sealingKey } }: {
    readonly base: string;
    readonly signingKeys: readonly ControlPlaneJwk[];
    readonly reply: Pick<AgentIdentity, "issuer" | "sealingKey">;
  },
  offered: OfferedKeys,
): Promise<AgentIdentity["sealingKey"]> {
  const before = { signingKeys, sealingKey, sealingSequence: 0 };
  const { trusted } = await learnKeys(before, offered, { issuer });
  if (trusted.sealingSequence === 0) throw impostor(base);
  return trusted.sealingKey;
}

function impostor(base: string): EnrolmentError {
  return new EnrolmentError(
    `Cannot enrol: what answers at ${base} is not the control plane that made the join token, and it has seen the ` +
      "token: revoke the agent if the control plane lists it, find out what answers, and make a new join token.",
  );
}

/** Imports a private key of the state folder so that it cannot be exported again. */
export async function privateKey(
  jwk: Record<string, string>,
  algorithm: "Ed25519" | "ECDH-ES",
): Promise<CryptoKey> {
  const key = await importJWK(jwk, algorithm, { extractable: false });
  if (key instanceof Uint8Array) throw new TypeError("Cannot use a symmetric key here");
  return key;
}
