/** Leases signed as the control plane signs them, with keys that the test holds: to alter and to re-sign. */
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { commandsSha256, driverSha256, findDriver } from "@rookery/shared/drivers/mod.ts";
import { AgentId, BootId, ClaimId, DeviceId, JobId, LeaseId, SiteId } from "@rookery/shared/ids.ts";
import {
  LEASE_TYPE,
  LeaseClaims,
  NORMALISER_VERSION,
  SealedCredential,
} from "@rookery/shared/jobs/lease.ts";
import type { LeaseExpectation } from "../../agent/verify_lease.ts";
import { SeenEpochs } from "../../agent/seen_epochs.ts";
import { sealForAgent } from "../../control-plane/credentials/vault.ts";

export interface LeaseBench {
  readonly claims: LeaseClaims;
  readonly credential: string;
  /** What the addressed agent knows; a fresh one each time, since an epoch is accepted once. */
  expectation(): LeaseExpectation;
  /** Signs claims, by default with the key that the agent has pinned. */
  sign(
    claims: unknown,
    options?: { key?: CryptoKey; typ?: string; alg?: string; kid?: string },
  ): Promise<string>;
  /** Seals a credential to the agent and returns it with claims that name it. */
  reseal(change: Partial<SealedCredential>): Promise<{ credential: string; claims: LeaseClaims }>;
}

function uuid<Id>(): Id {
  return crypto.randomUUID() as Id;
}

/** One good lease and all that belongs to it. */
export async function makeLeaseBench(): Promise<LeaseBench> {
  const signing = await generateKeyPair("Ed25519", { extractable: true });
  const seal = await generateKeyPair("ECDH-ES", { crv: "X25519", extractable: true });
  const { kty, crv, x } = await exportJWK(signing.publicKey);
  const kid = "pinned";
  const sealed = SealedCredential.parse({
    leaseId: uuid<LeaseId>(),
    epoch: 3,
    deviceId: uuid<DeviceId>(),
    host: "192.0.2.7",
    port: 22,
    username: "backup",
    password: "not-in-any-log",
  });
  const sealJwk = await exportJWK(seal.publicKey);
  const good = await sealForAgent(sealed, sealJwk);
  const claims = await goodClaims(sealed, good.sha256);
  return {
    claims,
    credential: good.jwe,
    expectation: () => ({
      issuer: claims.iss,
      agentId: claims.aud,
      bootId: claims.bootId,
      claimId: claims.claimId,
      siteIds: [claims.siteId],
      incarnation: claims.incarnation,
      signingKeys: [{ kty: kty ?? "", crv: crv ?? "", x: x ?? "", kid }],
      sealKeys: [seal.privateKey],
      epochs: new SeenEpochs(),
    }),
    sign: (altered, options = {}) =>
      new SignJWT(altered as Record<string, unknown>)
        .setProtectedHeader({
          alg: options.alg ?? "Ed25519",
          typ: options.typ ?? LEASE_TYPE,
          kid: options.kid ?? kid,
        })
        .sign(options.key ?? signing.privateKey),
    async reseal(change) {
      const { jwe, sha256 } = await sealForAgent({ ...sealed, ...change }, sealJwk);
      return { credential: jwe, claims: { ...claims, credentialSha256: sha256 } };
    },
  };
}

async function goodClaims(sealed: SealedCredential, credentialSha256: string) {
  const driver = findDriver("frr");
  if (!driver) throw new Error("The tests need the frr driver");
  return LeaseClaims.parse({
    iss: `rookery:${crypto.randomUUID()}`,
    aud: uuid<AgentId>(),
    sub: uuid<JobId>(),
    jti: sealed.leaseId,
    epoch: sealed.epoch,
    bootId: uuid<BootId>(),
    claimId: uuid<ClaimId>(),
    siteId: uuid<SiteId>(),
    incarnation: 1,
    ttlSeconds: 180,
    deadlineSeconds: 720,
    kind: "backup_config",
    payload: { captures: [] },
    device: {
      id: sealed.deviceId,
      host: sealed.host,
      port: sealed.port,
      platform: driver.platform,
      driverSha256: await driverSha256(driver),
      hostKeyPolicy: "strict",
      hostKeys: [{ type: "ssh-ed25519", fingerprint: `SHA256:${"a".repeat(43)}` }],
      legacyAlgorithms: false,
    },
    commandsSha256: await commandsSha256(driver, []),
    limits: {
      connectSeconds: 20,
      idleSeconds: 60,
      totalSeconds: 600,
      maxBytes: 1_000_000,
      shrinkPercent: 50,
    },
    credentialSha256,
    normaliserVersion: NORMALISER_VERSION,
    baselines: {
      running: { normalisedSha256: "b".repeat(64), bytes: 100, lines: 10 },
    },
  });
}
