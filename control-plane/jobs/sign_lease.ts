import { SignJWT } from "jose";
import type { AgentId, BootId, ClaimId } from "@rookery/shared/ids.ts";
import type { DriverSet } from "@rookery/shared/drivers/driver_set.ts";
import { digestOf } from "@rookery/shared/canonical_json.ts";
import { JOB_KINDS } from "@rookery/shared/jobs/mod.ts";
import { LEASE_TYPE, LeaseClaims, NORMALISER_VERSION } from "@rookery/shared/jobs/lease.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import type { GrantedLease } from "./claim.ts";
import type { LeaseDetails } from "./lease_details.ts";

export interface LeaseContext {
  readonly issuer: string;
  readonly incarnation: number;
  readonly agentId: AgentId;
  readonly bootId: BootId;
  readonly claimId: ClaimId;
  readonly keyRing: KeyRing;
  readonly drivers: DriverSet;
}

/** Signs one lease (JWS, Ed25519). Throws a RangeError when the platform has no driver here. */
export async function signLease(
  lease: GrantedLease,
  details: LeaseDetails,
  sealed: { context: LeaseContext; credentialSha256: string },
): Promise<string> {
  const claims = await leaseClaims(lease, details, sealed);
  return await new SignJWT({ ...claims })
    .setProtectedHeader({
      alg: "Ed25519",
      typ: LEASE_TYPE,
      kid: sealed.context.keyRing.signing.kid,
    })
    .sign(sealed.context.keyRing.signing.privateKey);
}

async function leaseClaims(
  lease: GrantedLease,
  details: LeaseDetails,
  { context, credentialSha256 }: { context: LeaseContext; credentialSha256: string },
): Promise<LeaseClaims> {
  const driver = context.drivers.find(details.platform);
  if (!driver) throw new RangeError(`Cannot lease a device of platform "${details.platform}"`);
  const ask = JOB_KINDS[lease.kind].read(details.payload);
  return LeaseClaims.parse(
    {
      iss: context.issuer,
      aud: context.agentId,
      sub: lease.jobId,
      jti: lease.leaseId,
      epoch: lease.epoch,
      bootId: context.bootId,
      claimId: context.claimId,
      siteId: lease.siteId,
      incarnation: context.incarnation,
      ttlSeconds: details.leaseTtlSeconds,
      deadlineSeconds: Math.max(1, lease.deadlineSeconds),
      kind: lease.kind,
      payload: details.payload,
      device: {
        id: lease.deviceId,
        host: details.host,
        port: details.port,
        platform: details.platform,
        driverSha256: (await context.drivers.digests())[driver.platform],
        hostKeyPolicy: details.hostKeyPolicy,
        hostKeys: details.hostKeys,
        legacyAlgorithms: details.legacyAlgorithms,
      },
      commandsSha256: await digestOf(ask.commandsOf(driver)),
      limits: {
        connectSeconds: details.connectSeconds,
        idleSeconds: details.idleSeconds,
        totalSeconds: details.totalSeconds,
        maxBytes: details.maxBytes,
        shrinkPercent: details.shrinkPercent,
      },
      credentialSha256,
      normaliserVersion: NORMALISER_VERSION,
      baselines: details.baselines,
    } satisfies Record<keyof LeaseClaims, unknown>,
  );
}
