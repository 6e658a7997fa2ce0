import { compactDecrypt, compactVerify, decodeProtectedHeader, importJWK, type JWK } from "jose";
import { digestOf, sha256 } from "@rookery/shared/canonical_json.ts";
import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { SHIPPED_DRIVERS } from "@rookery/shared/drivers/mod.ts";
import type { WantedDriver } from "@rookery/shared/drivers/signed_driver.ts";
import type { AgentId, BootId, ClaimId, SiteId } from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import type { Ask } from "@rookery/shared/jobs/kind.ts";
import {
  CREDENTIAL_TYPE,
  LEASE_TYPE,
  LeaseClaims,
  type LoginCredential,
  NORMALISER_VERSION,
  SealedCredential,
} from "@rookery/shared/jobs/lease.ts";
import { JOB_KINDS } from "@rookery/shared/jobs/mod.ts";
import type { SeenEpochs } from "./seen_epochs.ts";

/** A longer lease, or a larger configuration, is none that a sane control plane signs. */
const MAX_DEADLINE_SECONDS = 2 * 3_600;
const MAX_BYTES = 100 * 1024 * 1024;

/** What the agent knows by itself, and compares a lease with. */
export interface LeaseExpectation {
  readonly issuer: string;
  readonly agentId: AgentId;
  readonly bootId: BootId;
  readonly claimId: ClaimId;
  readonly siteIds: readonly SiteId[];
  readonly incarnation: number;
  readonly signingKeys: readonly (JWK & { kid: string })[];
  /** Looks for a signing key that is not among those: the control plane may have a new one. */
  readonly findSigningKey?: (kid: string) => Promise<JWK | undefined>;
  /** Open what was sealed to this agent: the newest first, then those that a rotation replaced. */
  readonly sealKeys: readonly CryptoKey[];
  /** What this boot has accepted before: a lease that is sent again is refused. */
  readonly epochs: SeenEpochs;
  /** The driver of that platform and digest. Default: among those that ship. */
  readonly findDriver?: (wanted: WantedDriver) => Promise<Driver | undefined>;
}

/** A lease that passed: what to do, with what, and as whom. */
export interface VerifiedLease {
  readonly claims: LeaseClaims;
  readonly driver: Driver;
  readonly credential: SealedCredential;
}

/** The same with what to log in with at hand, the agent's own credentials looked up. */
export interface RunnableLease extends VerifiedLease {
  readonly credential: LoginCredential;
}

/** The lease is not to be run. Without `claims` its signature failed, so nothing in it can be answered. */
export class LeaseRefusedError extends Error {
  override name = "LeaseRefusedError";
  readonly code: FailureCode;
  readonly claims: LeaseClaims | undefined;

  constructor(
    message: string,
    options: ErrorOptions & { code?: FailureCode; claims?: LeaseClaims } = {},
  ) {
    super(message, options);
    this.code = options.code ?? "lease_invalid";
    this.claims = options.claims;
  }
}

/**
 * Checks the signature of a lease against the pinned keys, then compares every field with what the agent
 * knows by itself. Throws a LeaseRefusedError naming the field; nothing has been sent to a device by then.
 */
export async function verifyLease(
  granted: { lease: string; credential: string },
  expected: LeaseExpectation,
): Promise<VerifiedLease> {
  const claims = await verifySignature(granted.lease, expected);
  compareAddressee(claims, expected);
  compareBounds(claims);
  const ask = readPayload(claims);
  const driver = await compareDriver(claims, { ask, findDriver: expected.findDriver });
  if (await sha256(granted.credential) !== claims.credentialSha256) {
    throw mismatch(claims, "credentialSha256");
  }
  const credential = await openCredential(granted.credential, claims, expected.sealKeys);
  if (ask.logsIn && "noLogin" in credential) throw mismatch(claims, "credentialSha256");
  if (!expected.epochs.accept(claims.sub, claims.epoch)) throw mismatch(claims, "epoch");
  return { claims, driver, credential };
}

async function verifySignature(token: string, expected: LeaseExpectation): Promise<LeaseClaims> {
  const { kid } = decodeHeader(token);
  const jwk = expected.signingKeys.find((key) => key.kid === kid) ??
    (kid === undefined ? undefined : await expected.findSigningKey?.(kid));
  if (!jwk) throw new LeaseRefusedError("Cannot trust the lease: signed by an unknown key");
  try {
    const { payload } = await compactVerify(token, await importJWK(jwk, "Ed25519"), {
      algorithms: ["Ed25519"],
    });
    return LeaseClaims.parse(JSON.parse(new TextDecoder().decode(payload)));
  } catch (cause) {
    throw new LeaseRefusedError("Cannot trust the lease: its signature or its form is wrong", {
      cause,
    });
  }
}

function decodeHeader(token: string): { kid: string | undefined } {
  try {
    const { alg, typ, kid } = decodeProtectedHeader(token);
    if (alg === "Ed25519" && typ === LEASE_TYPE) return { kid };
  } catch (cause) {
    throw new LeaseRefusedError("Cannot trust the lease: it is no JWS", { cause });
  }
  throw new LeaseRefusedError("Cannot trust the lease: wrong algorithm or type");
}

/** Whom, when and where the lease is for. */
function compareAddressee(claims: LeaseClaims, expected: LeaseExpectation): void {
  const wrong = [
    claims.iss !== expected.issuer && "iss",
    claims.aud !== expected.agentId && "aud",
    claims.bootId !== expected.bootId && "bootId",
    claims.claimId !== expected.claimId && "claimId",
    !expected.siteIds.includes(claims.siteId) && "siteId",
    claims.incarnation !== expected.incarnation && "incarnation",
  ].find((field) => field !== false);
  if (wrong) throw mismatch(claims, wrong);
}

/** Limits that would hold the agent or its memory for longer or for more than it allows by itself. */
function compareBounds(claims: LeaseClaims): void {
  const { limits } = claims;
  const wrong = [
    claims.deadlineSeconds > MAX_DEADLINE_SECONDS && "deadlineSeconds",
    claims.ttlSeconds > 1_800 && "ttlSeconds",
    limits.totalSeconds > claims.deadlineSeconds && "limits.totalSeconds",
    limits.maxBytes > MAX_BYTES && "limits.maxBytes",
    claims.normaliserVersion !== NORMALISER_VERSION && "normaliserVersion",
  ].find((field) => field !== false);
  if (wrong) throw mismatch(claims, wrong);
}

async function compareDriver(
  claims: LeaseClaims,
  { ask, findDriver }: { ask: Ask; findDriver: LeaseExpectation["findDriver"] },
): Promise<Driver> {
  const { platform, driverSha256: sha256 } = claims.device;
  const find = findDriver ?? (({ sha256 }) => SHIPPED_DRIVERS.findByDigest(sha256));
  const driver = await find({ platform, sha256 });
  if (driver?.platform !== platform) {
    throw new LeaseRefusedError(
      `Cannot run the lease: this agent has no driver of ${claims.device.platform} with that digest`,
      { code: "platform_unsupported", claims },
    );
  }
  if (ask.refuse(driver).length > 0) throw mismatch(claims, "payload");
  if (await digestOf(ask.commandsOf(driver)) !== claims.commandsSha256) {
    throw mismatch(claims, "commandsSha256");
  }
  return driver;
}

function readPayload(claims: LeaseClaims): Ask {
  try {
    return JOB_KINDS[claims.kind].read(claims.payload);
  } catch {
    throw mismatch(claims, "payload");
  }
}

/** The credential repeats which lease and which address it is for, so it cannot be moved to another. */
async function openCredential(
  jwe: string,
  claims: LeaseClaims,
  sealKeys: readonly CryptoKey[],
): Promise<SealedCredential> {
  const credential = await decryptCredential(jwe, claims, sealKeys);
  const wrong = [
    credential.leaseId !== claims.jti && "jti",
    credential.epoch !== claims.epoch && "epoch",
    credential.deviceId !== claims.device.id && "device.id",
    credential.host !== claims.device.host && "device.host",
    credential.port !== claims.device.port && "device.port",
  ].find((field) => field !== false);
  if (wrong) throw mismatch(claims, wrong);
  return credential;
}

async function decryptCredential(
  jwe: string,
  claims: LeaseClaims,
  sealKeys: readonly CryptoKey[],
): Promise<SealedCredential> {
  for (const sealKey of sealKeys) {
    const credential = await decryptWith(jwe, sealKey);
    if (credential) return credential;
  }
  throw new LeaseRefusedError("Cannot open the credential of the lease with this agent's key", {
    claims,
  });
}

async function decryptWith(
  jwe: string,
  sealKey: CryptoKey,
): Promise<SealedCredential | undefined> {
  try {
    const { plaintext, protectedHeader } = await compactDecrypt(jwe, sealKey, {
      keyManagementAlgorithms: ["ECDH-ES"],
      contentEncryptionAlgorithms: ["A256GCM"],
      maxDecompressedLength: 0,
    });
    if (protectedHeader.cty !== CREDENTIAL_TYPE) return undefined;
    return SealedCredential.parse(JSON.parse(new TextDecoder().decode(plaintext)));
  } catch {
    // The cause is dropped on purpose: a parse error could quote what was sealed.
    return undefined;
  }
}

function mismatch(claims: LeaseClaims, field: string): LeaseRefusedError {
  return new LeaseRefusedError(
    `Cannot run the lease: its ${field} is not what this agent knows`,
    { claims },
  );
}
