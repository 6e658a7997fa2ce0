import { z } from "zod";
import { AgentId, BootId, ClaimId, DeviceId, JobId, LeaseId, Sha256, SiteId } from "../ids.ts";
import { HostKeySeen } from "./backup_config.ts";
import { JobKind } from "./mod.ts";

/** The JWS type of a lease, so that no other token of the control plane can pass for one. */
export const LEASE_TYPE = "rookery-lease+jwt";
/** The content type inside the JWE that carries a sealed credential. */
export const CREDENTIAL_TYPE = "rookery-credential+json";
/** Version of the rules that decide "changed or not"; raised when their meaning changes. */
export const NORMALISER_VERSION = 1;

/** How a host key that is not pinned yet is treated. */
export const HostKeyPolicy = z.enum(["first_use", "strict"]).meta({ id: "HostKeyPolicy" });
export type HostKeyPolicy = z.infer<typeof HostKeyPolicy>;

/** What of one capture was stored last, to tell "unchanged" and "shrunk". */
export const CaptureBaseline = z.strictObject({
  normalisedSha256: Sha256,
  bytes: z.int().min(1),
  lines: z.int().min(1),
});
export type CaptureBaseline = z.infer<typeof CaptureBaseline>;

/**
 * The claims of a lease: the right of one agent to run one attempt of one job. Signed by the control plane
 * (JWS, Ed25519, typ `rookery-lease+jwt`); the agent compares every field with what it knows. All times are
 * relative seconds that count from the moment the agent sent its claim: no clock is compared.
 */
export const LeaseClaims = z.strictObject({
  iss: z.string(),
  aud: AgentId,
  sub: JobId,
  jti: LeaseId,
  epoch: z.int().min(1),
  bootId: BootId,
  claimId: ClaimId,
  siteId: SiteId,
  /** Which life of the installation this lease belongs to; a restore from backup starts a new one. */
  incarnation: z.int().min(1),
  ttlSeconds: z.int().min(1),
  /** The attempt must have ended by then, whatever the heartbeats say. */
  deadlineSeconds: z.int().min(1),
  kind: JobKind,
  payload: z.json(),
  device: z.strictObject({
    id: DeviceId,
    host: z.string().min(1),
    port: z.int().min(1).max(65_535),
    platform: z.string(),
    driverSha256: Sha256,
    hostKeyPolicy: HostKeyPolicy,
    hostKeys: z.array(HostKeySeen),
    legacyAlgorithms: z.boolean(),
  }),
  /** Of the list of commands that the driver may send for this job. */
  commandsSha256: Sha256,
  limits: z.strictObject({
    connectSeconds: z.int().min(1).max(300),
    idleSeconds: z.int().min(1).max(600),
    totalSeconds: z.int().min(1).max(3_600),
    maxBytes: z.int().min(1),
    shrinkPercent: z.int().min(1).max(100),
  }),
  /** Of the compact JWE that travels beside the lease. */
  credentialSha256: Sha256,
  normaliserVersion: z.int(),
  baselines: z.record(z.string(), CaptureBaseline),
}).meta({ id: "LeaseClaims" });
export type LeaseClaims = z.infer<typeof LeaseClaims>;

/** How people name a credential that only agents hold. */
export const LocalCredentialName = z.string().regex(
  /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$/,
  "must be letters, digits, dots, dashes and underscores, at most 100",
).meta({ example: "core-routers" });

/** The lease, epoch and target that a credential was sealed for: it opens no other door. */
const SealedFor = {
  leaseId: LeaseId,
  epoch: z.int().min(1),
  deviceId: DeviceId,
  host: z.string(),
  port: z.int(),
};

/** What an agent logs in with, opened from the JWE of one lease and kept in memory only. */
export const LoginCredential = z.strictObject({
  ...SealedFor,
  username: z.string(),
  password: z.string().optional(),
  privateKey: z.string().optional(),
  passphrase: z.string().optional(),
  enableSecret: z.string().optional(),
});
export type LoginCredential = z.infer<typeof LoginCredential>;

/** Names a credential of the agent's own file instead: the control plane has no secret to send. */
export const LocalCredentialRef = z.strictObject({
  ...SealedFor,
  localName: LocalCredentialName,
});
export type LocalCredentialRef = z.infer<typeof LocalCredentialRef>;

/** Nothing to log in with: the session of the job does not. */
export const NoLogin = z.strictObject({ ...SealedFor, noLogin: z.literal(true) });

/** What travels in the JWE beside a lease. */
export const SealedCredential = z.union([LoginCredential, LocalCredentialRef, NoLogin]);
export type SealedCredential = z.infer<typeof SealedCredential>;
