/** What the cryptography of one request and of one job costs, by the very functions that the control plane calls. */
import process from "node:process";
import { SignJWT } from "jose";
import { makeProof } from "../../../agent/dpop.ts";
import { readAccessToken, signAccessToken } from "../../../control-plane/agents/access_token.ts";
import { verifyProof } from "../../../control-plane/agents/proof.ts";
import { createProofNonces } from "../../../control-plane/agents/proof_nonces.ts";
import {
  openSecrets,
  sealForAgent,
  sealSecrets,
} from "../../../control-plane/credentials/vault.ts";
import { readResult } from "../../../control-plane/jobs/read_result.ts";
import { makeKeys } from "../../../control-plane/keys/key_file.ts";
import { openKeyRing } from "../../../control-plane/keys/key_ring.ts";
import { AgentId, BootId, CredentialId } from "@rookery/shared/ids.ts";
import { RESULT_TYPE } from "@rookery/shared/jobs/result.ts";
import { makeKey } from "../../support/joining.ts";
import { makeLeaseBench } from "../../support/signed_lease.ts";
import { sealingKey } from "./sim_keys.ts";

/** Milliseconds of CPU. */
export interface CryptoCosts {
  /** Proof and token of one request. */
  readonly request: number;
  /** Opening the stored credential, sealing it to the agent, signing the lease. */
  readonly grant: number;
  /** Reading the signed result. */
  readonly result: number;
}

export async function measureCrypto(times: number): Promise<CryptoCosts> {
  return {
    request: await cpuMs(times, await requestWork()),
    grant: await cpuMs(times, await grantWork()),
    result: await cpuMs(times, await resultWork()),
  };
}

/** CPU time of all threads per run, after a warm-up. */
export async function cpuMs(times: number, work: () => Promise<unknown>): Promise<number> {
  for (let n = 0; n < times / 4; n++) await work();
  const before = process.cpuUsage();
  for (let n = 0; n < times; n++) await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000 / times;
}

const ISSUER = "urn:uuid:00000000-0000-4000-8000-000000000001";

async function requestWork(): Promise<() => Promise<unknown>> {
  const keyRing = await openKeyRing(await makeKeys());
  const nonces = await createProofNonces(keyRing);
  const key = await makeKey();
  const token = {
    agentId: AgentId.parse(crypto.randomUUID()),
    bootId: BootId.parse(crypto.randomUUID()),
    thumbprint: "x",
  };
  const accessToken = await signAccessToken(keyRing, ISSUER, token);
  const url = "https://rookery.test/agent/v1/heartbeat";
  const nonce = await nonces.current();
  const proof = await makeProof(key, { method: "POST", url, nonce, accessToken });
  return async () => {
    await readAccessToken(keyRing, ISSUER, accessToken);
    await verifyProof({ proof, method: "POST", url, accessToken }, nonces);
  };
}

async function grantWork(): Promise<() => Promise<unknown>> {
  const keyRing = await openKeyRing(await makeKeys());
  const version = { credentialId: CredentialId.parse(crypto.randomUUID()), version: 1 };
  const secrets = { password: "a long one, please" };
  const envelope = await sealSecrets(keyRing, { ...version, secrets });
  const { claims, sign } = await makeLeaseBench();
  const { device: { id: deviceId, host, port }, jti: leaseId, epoch } = claims;
  const sealJwk = sealingKey().publicJwk;
  return async () => {
    const opened = await openSecrets(keyRing, { ...version, envelope });
    const credential = { leaseId, epoch, deviceId, host, port, username: "netops", ...opened };
    await sealForAgent(credential, sealJwk);
    await sign(claims);
  };
}

async function resultWork(): Promise<() => Promise<unknown>> {
  const key = await makeKey();
  const { claims } = await makeLeaseBench();
  const { aud: agentId, jti: leaseId, sub, siteId, epoch, bootId, incarnation } = claims;
  const lease = {
    iss: agentId,
    aud: ISSUER,
    sub,
    jti: leaseId,
    siteId,
    epoch,
    bootId,
    incarnation,
  };
  const report = { status: "completed", outcome: { captures: [], facts: {} } };
  const result = { ...lease, report, durationMs: 7, agentVersion: "bench" };
  const token = await new SignJWT(result)
    .setProtectedHeader({ alg: "Ed25519", typ: RESULT_TYPE }).sign(key.privateKey);
  return () => readResult(token, { agentId, leaseId, issuer: ISSUER, signJwks: [key.publicJwk] });
}
