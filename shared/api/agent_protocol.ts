/**
 * What agents and the control plane say to each other. Every call but `enroll` and `jwks` carries an access
 * token and a DPoP proof (RFC 9449) by the agent's signing key with the newest server nonce.
 */
import { z } from "zod";
import { MAX_DRIVER_TOKEN, Platform, WantedDriver } from "../drivers/signed_driver.ts";
import { toldText } from "../jobs/failure.ts";
import { endpoint } from "../endpoint.ts";
import { AgentId, BootId, ClaimId, LeaseId, MAX_INTEGER, Sha256, SiteId } from "../ids.ts";
import { BLOB_TYPES } from "./blob_upload.ts";
import { HintText, HintUser } from "./change_hints.ts";
import { text } from "./page.ts";

/** Raised when agents of an older protocol can no longer be served. */
export const PROTOCOL_VERSION = 1;
/** The largest configuration that can be uploaded, in bytes. */
export const MAX_BLOB_BYTES = 100 * 1024 * 1024;
/** A session names no more drivers at a time. */
export const MAX_WANTED_DRIVERS = 16;
/** How long the largest configuration may be on its way: sealing adds a third. */
const MAX_UPLOAD_BYTES = 140 * 1024 * 1024;

const KeyBytes = z.string().regex(/^[A-Za-z0-9_-]+$/).length(43).meta({ example: "A".repeat(43) });

/** The public half of an agent's signing key (RFC 8037). */
export const SignJwk = z.strictObject({
  kty: z.literal("OKP"),
  crv: z.literal("Ed25519"),
  x: KeyBytes,
});
export type SignJwk = z.infer<typeof SignJwk>;

/** The public half of the key that credentials are sealed to. */
export const SealJwk = z.strictObject({
  kty: z.literal("OKP"),
  crv: z.literal("X25519"),
  x: KeyBytes,
});
export type SealJwk = z.infer<typeof SealJwk>;

/** A public signing key of the control plane. */
export const ControlPlaneJwk = z.strictObject({ ...SignJwk.shape, kid: z.string() })
  .meta({ id: "ControlPlaneJwk" });
export type ControlPlaneJwk = z.infer<typeof ControlPlaneJwk>;

/**
 * A join token as people hand it over: `rkj_<secret>.<thumbprint>`. The secret proves the right to join,
 * the thumbprint names the control plane's signing key, so that the agent knows whom it joins.
 */
export const JoinToken = z.string().regex(
  /^rkj_[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{43}$/,
  "must be rkj_….… as the control plane printed it",
).meta({ example: `rkj_${"A".repeat(43)}.${"A".repeat(43)}` });

const Versions = {
  agentVersion: text(40).min(1).meta({ example: "1.0.0" }),
  protocolVersion: z.int().min(1),
  /** Digest of every driver the agent has, by platform. */
  drivers: z.record(Platform, Sha256),
};

export const enrollAgent = endpoint({
  method: "POST",
  path: "/agent/v1/enroll",
  access: "public",
  summary: "Enrol an agent with a join token; the same key again is the same agent",
  body: z.strictObject({ joinToken: JoinToken, signJwk: SignJwk, sealJwk: SealJwk, ...Versions }),
  reply: z.object({
    agentId: AgentId,
    name: z.string(),
    /** `pending`: it can do nothing until a person has approved its fingerprint. */
    status: z.enum(["active", "pending"]).default("active"),
    issuer: z.string(),
    siteIds: z.array(SiteId),
    incarnation: z.int(),
    /** The keys that leases may be signed with; one of them has the thumbprint of the join token. */
    signingKeys: z.array(ControlPlaneJwk),
    /** What the agent seals its spool to: it keeps nothing that opens it. */
    sealingKey: z.strictObject({ ...SealJwk.shape, kid: z.string() }),
  }),
});

export const openAgentSession = endpoint({
  method: "POST",
  path: "/agent/v1/session",
  access: "agent",
  summary: "Open or renew the session of one boot; a new boot frees the leases of the old",
  body: z.strictObject({
    bootId: BootId,
    /** Rises by one at every boot of the agent. */
    sequence: z.int().min(1).max(MAX_INTEGER),
    capacity: z.int().min(0).max(256),
    /** The kinds of job it can run; agents that do not say are of a time when there was one. */
    kinds: z.array(z.string().min(1).max(40)).max(100).default(["backup_config"]),
    ...Versions,
  }),
  reply: z.object({
    accessToken: z.string(),
    expiresInSeconds: z.int(),
    ttlSeconds: z.int(),
    heartbeatSeconds: z.number(),
    siteIds: z.array(SiteId),
    incarnation: z.int(),
    /** As in `jwks`: another number than the last time means that there is something to read there. */
    keyGeneration: z.int().min(0).default(0),
    /** The agent is to make new keys now, see `rotateAgentKeys`. */
    rotateKeys: z.boolean().default(false),
    /** What devices of its sites need and it does not report: to be fetched, see `fetchDriver`, if it may. */
    drivers: z.array(WantedDriver).max(MAX_WANTED_DRIVERS).default([]),
  }),
});

export const fetchDriver = endpoint({
  method: "GET",
  path: "/agent/v1/drivers/:sha256",
  access: "agent",
  summary: "The data of a driver, signed; a digest that is not known is a 404",
  params: z.strictObject({ sha256: Sha256.describe("The SHA-256 of what is fetched, in hex") }),
  reply: z.object({
    /** Compact JWS, see `DriverClaims`. */
    driver: z.string().max(MAX_DRIVER_TOKEN),
  }),
});

export const rotateAgentKeys = endpoint({
  method: "POST",
  path: "/agent/v1/keys/rotate",
  access: "agent",
  summary: "Agree on new keys; the old ones work until the new ones are used, 24 hours at most",
  body: z.strictObject({
    /** The statement (`RotationClaims`) as a compact JWS by the signing key in force. */
    byOld: z.string().max(5_000),
    /** The very same statement as a compact JWS by the new signing key. */
    byNew: z.string().max(5_000),
  }),
  reply: z.object({
    /** Of the new signing key. */
    thumbprint: z.string(),
    oldKeyAcceptedSeconds: z.int(),
  }),
});

export const claimLeases = endpoint({
  method: "POST",
  path: "/agent/v1/claim",
  access: "agent",
  summary: "Ask for leases; held open for up to waitSeconds while there is nothing to do",
  body: z.strictObject({
    claimId: ClaimId,
    bootId: BootId,
    wanted: z.int().min(1).max(256),
    waitSeconds: z.int().min(0).max(50).default(50),
  }),
  reply: z.object({
    leases: z.array(z.object({
      /** Compact JWS, see `LeaseClaims`. */
      lease: z.string(),
      /** Compact JWE to the agent's sealing key, see `SealedCredential`. */
      credential: z.string(),
    })),
  }),
});

/** How far the session of a lease is, in the agent's own words: shown as it is, and never interpreted. */
export const LeaseProgress = z.strictObject({
  leaseId: LeaseId,
  step: toldText(80),
  percent: z.int().min(0).max(100).optional(),
  /** Read from the device so far. */
  bytes: z.int().min(0).max(1_000_000_000_000).optional(),
});
export type LeaseProgress = z.infer<typeof LeaseProgress>;

export const sendHeartbeat = endpoint({
  method: "POST",
  path: "/agent/v1/heartbeat",
  access: "agent",
  summary: "Renew all leases of the agent; the first mention of a lease starts it",
  body: z.strictObject({
    bootId: BootId,
    leaseIds: z.array(LeaseId).max(256),
    /** Only to a control plane that named `progressSeconds`, and only what changed. */
    progress: z.array(LeaseProgress).max(256).default([]),
  }),
  reply: z.object({
    ttlSeconds: z.int(),
    heartbeatSeconds: z.number(),
    cancel: z.array(LeaseId),
    unknown: z.array(LeaseId),
    /** It takes `progress`; of one lease no more often than this. */
    progressSeconds: z.int().optional(),
  }),
});

const BlobParams = z.strictObject({
  leaseId: LeaseId,
  sha256: Sha256.describe("The SHA-256 of the configuration, in hex"),
});

export const hasBlob = endpoint({
  method: "HEAD",
  path: "/agent/v1/leases/:leaseId/blobs/:sha256",
  access: "agent",
  summary: "Whether this lease's device already has these bytes, so that they need not be sent",
  description:
    "204 when it has. Otherwise a 404 `not-found`, with `Upload-Id` and `Upload-Offset` when a part " +
    "of an upload under this lease was kept. `Accept-Encoding` names the codings that uploads are taken in",
  params: BlobParams,
  status: 204,
});

export const putBlob = endpoint({
  method: "PUT",
  path: "/agent/v1/leases/:leaseId/blobs/:sha256",
  access: "agent",
  summary: "Upload the exact bytes of a configuration under a lease",
  description:
    "As they are (`application/octet-stream`, with `Content-Encoding: zstd` if compressed), or sealed to " +
    "the control plane (`application/jose`, see `SealedReportHeader`). The digest is that of the exact bytes. " +
    "With `Upload-Id` (the SHA-256 of the body as it travels) an upload that was cut goes on from `Upload-Offset`",
  params: BlobParams,
  bodyAs: "bytes",
  bodyTypes: BLOB_TYPES,
  maxBodyBytes: MAX_UPLOAD_BYTES,
  status: 204,
});

export const ResultAnswer = z.enum(["accepted", "accepted_late", "superseded"])
  .meta({ id: "ResultAnswer" });
export type ResultAnswer = z.infer<typeof ResultAnswer>;

/** A result as it was signed, or sealed to the control plane by the agent that kept it. */
export const ReportBody = z.union([
  z.strictObject({ result: z.string().max(1_000_000) }),
  /** Compact JWE, see `SealedReportHeader`. */
  z.strictObject({ sealed: z.string().max(1_500_000) }),
]);
export type ReportBody = z.infer<typeof ReportBody>;

export const reportResult = endpoint({
  method: "POST",
  path: "/agent/v1/leases/:leaseId/result",
  access: "agent",
  summary: "Report how an attempt ended, as a JWS by the agent's key; a superseded one is a 409",
  params: z.strictObject({ leaseId: LeaseId }),
  body: ReportBody,
  maxBodyBytes: 2 * 1024 * 1024,
  reply: z.object({ answer: ResultAnswer, duplicate: z.boolean() }),
});

export const releaseLeaseOfAgent = endpoint({
  method: "POST",
  path: "/agent/v1/leases/:leaseId/release",
  access: "agent",
  summary: "Give back a lease that was not started",
  params: z.strictObject({ leaseId: LeaseId }),
  status: 204,
});

export const drainAgent = endpoint({
  method: "POST",
  path: "/agent/v1/drain",
  access: "agent",
  summary: "Say that this boot will claim no more; its running leases go on",
  body: z.strictObject({ bootId: BootId }),
  status: 204,
});

/** What one syslog message said, or many of one sender and user in the same second. */
export const AgentHint = z.strictObject({
  /** Where the message came from, IPv4 or IPv6. */
  address: z.union([z.ipv4(), z.ipv6()]),
  /** Who the message says it is from, which is another where a relay passed it on; empty when it does not say. */
  host: text(255).meta({ example: "oslo-core-1" }),
  user: HintUser,
  text: HintText,
  /** How many messages said so. */
  count: z.int().min(1).max(1_000_000),
}).meta({ id: "AgentHint" });
export type AgentHint = z.infer<typeof AgentHint>;

/** An agent tells no more at a time. */
export const MAX_AGENT_HINTS = 100;

export const sendChangeHints = endpoint({
  method: "POST",
  path: "/agent/v1/hints",
  access: "agent",
  summary: "Say which devices of the agent's sites seem to have changed, by what syslog said",
  description:
    "A device is found by `host` (its host name, address or name), or else by `address`. What fits no device of the " +
    "agent's sites is counted and forgotten. Never repeated: a hint that is lost costs a backup that comes later.",
  body: z.strictObject({ hints: z.array(AgentHint).min(1).max(MAX_AGENT_HINTS) }),
  maxBodyBytes: 512 * 1024,
  reply: z.object({
    /** Devices that will be backed up for it. */
    devices: z.int(),
    /** Places in the list of those that fit no device. */
    unknown: z.array(z.int()),
  }),
});

export const readSigningKeys = endpoint({
  method: "GET",
  path: "/agent/v1/jwks",
  access: "public",
  summary: "The control plane's public signing keys, and why to trust them",
  description:
    "Nothing here is to be believed for who sends it: an agent takes a key only by a chain of statements that " +
    "begins at one it trusts already.",
  reply: z.object({
    /** Leases are signed with the first; the others were, or will be. */
    keys: z.array(ControlPlaneJwk),
    /** Compact JWS each, oldest first, see `KeyStatement`; never shortened, so that who was away for months finds the way. */
    statements: z.array(z.string().max(4_000)).max(2_000).default([]),
    /** Rises with every change of the keys. */
    generation: z.int().min(0).default(0),
  }),
});
