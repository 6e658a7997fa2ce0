import { z } from "zod";
import { Grade } from "../drivers/driver.ts";
import { endpoint } from "../endpoint.ts";
import { AgentId, BackupId, DeviceId, Instant, JobId, RevisionId, Sha256, SiteId } from "../ids.ts";
import { DeviceFacts } from "../jobs/backup_config.ts";
import { FailureCode } from "../jobs/failure.ts";
import { listOf, Page, text } from "./page.ts";
import { Task } from "./tasks.ts";

/** `quarantined`: it shrank too much and waits for a decision; `rejected`: it waits no more, and is no baseline. */
export const RevisionState = z.enum(["accepted", "quarantined", "rejected"])
  .meta({ id: "RevisionState" });
export type RevisionState = z.infer<typeof RevisionState>;

/** A distinct configuration of one capture of a device. */
export const Revision = z.object({
  id: RevisionId,
  siteId: SiteId,
  deviceId: DeviceId,
  capture: z.string(),
  platform: z.string(),
  /** Counts up within the capture. */
  number: z.int(),
  state: RevisionState,
  /** How its completeness was proven. */
  grade: Grade,
  /** Of the exact bytes. */
  sha256: Sha256,
  bytes: z.int(),
  lines: z.int(),
  backupId: BackupId,
  firstSeenAt: Instant,
  lastSeenAt: Instant,
  decidedAt: Instant.nullable(),
  /** It is the one the device was seen with last. */
  current: z.boolean(),
  /** Retention never takes it. */
  pinned: z.boolean(),
  /** What people say of it; empty when nobody did. */
  comment: z.string(),
  /** On which hardware it was seen first: 1 until the device is replaced, 2 after that, and so on. */
  hardware: z.int(),
}).meta({ id: "Revision" });
export type Revision = z.infer<typeof Revision>;

/** One attempt on a device that said something about its configuration. */
export const Backup = z.object({
  id: BackupId,
  siteId: SiteId,
  deviceId: DeviceId,
  jobId: JobId,
  agentId: AgentId,
  status: z.enum(["verified", "quarantined", "failed"]),
  failureCode: FailureCode.nullable(),
  failureDetail: z.string().nullable(),
  /** The failure in plain words. */
  reason: z.string().nullable(),
  captures: z.array(z.object({
    name: z.string(),
    kind: z.enum(["new", "unchanged", "quarantined"]),
    revisionId: RevisionId,
    grade: Grade,
    bytes: z.int(),
    lines: z.int(),
  })),
  /** Its lease had been lost when it arrived. */
  late: z.boolean(),
  durationMs: z.int(),
  receivedAt: Instant,
}).meta({ id: "Backup" });
export type Backup = z.infer<typeof Backup>;

/** What is known of a device's backups, as of its last attempt. */
export const DeviceStatus = z.object({
  deviceId: DeviceId,
  siteId: SiteId,
  lastAttemptAt: Instant.nullable(),
  lastOutcome: z.enum(["verified", "quarantined", "failed"]).nullable(),
  /** The age that matters: failed and quarantined attempts do not renew it. */
  lastVerifiedAt: Instant.nullable(),
  failureCode: FailureCode.nullable(),
  failureDetail: z.string().nullable(),
  reason: z.string().nullable(),
  failingSince: Instant.nullable(),
  /** Failed attempts in a row. */
  failureStreak: z.int(),
  grade: Grade.nullable(),
  revisionId: RevisionId.nullable(),
  /** The running configuration is not the one the device would start with; null when it shows only one. */
  unsaved: z.boolean().nullable(),
  facts: DeviceFacts,
}).meta({ id: "DeviceStatus" });
export type DeviceStatus = z.infer<typeof DeviceStatus>;

const DiffLine = z.object({
  kind: z.enum(["context", "removed", "added"]),
  text: z.string(),
  /** Line numbers count the compared text, from 1; null on the side that lacks the line. */
  oldNumber: z.int().nullable(),
  newNumber: z.int().nullable(),
});

/** What changed between two texts, in hunks with some lines of context. */
export const Diff = z.object({
  added: z.int(),
  removed: z.int(),
  /** `coarse`: too different to compare line by line in time; everything between the equal ends is one hunk. */
  method: z.enum(["exact", "coarse"]),
  /** Lines were left out of the hunks because there are too many. */
  truncated: z.boolean(),
  hunks: z.array(z.object({
    oldStart: z.int(),
    oldLines: z.int(),
    newStart: z.int(),
    newLines: z.int(),
    lines: z.array(DiffLine),
  })),
}).meta({ id: "Diff" });
export type Diff = z.infer<typeof Diff>;

const DeviceParams = z.strictObject({ deviceId: DeviceId });
const RevisionParams = z.strictObject({ revisionId: RevisionId });
const Capture = z.string().min(1).max(40).regex(/^[a-zA-Z0-9_]+$/, "must be a capture's name")
  .meta({ example: "running" });

export const getDeviceStatus = endpoint({
  method: "GET",
  path: "/api/v1/devices/:deviceId/status",
  access: "devices:read",
  summary: "Read what is known of a device's backups",
  params: DeviceParams,
  reply: DeviceStatus,
});

export const listBackups = endpoint({
  method: "GET",
  path: "/api/v1/devices/:deviceId/backups",
  access: "backups:read",
  summary: "List the attempts on a device, newest first",
  params: DeviceParams,
  query: Page,
  reply: listOf(Backup),
});

export const listRevisions = endpoint({
  method: "GET",
  path: "/api/v1/devices/:deviceId/revisions",
  access: "backups:read",
  summary: "List the configurations of a device, newest first",
  params: DeviceParams,
  query: z.strictObject({
    ...Page.shape,
    capture: Capture.optional()
      .describe("Only of this capture"),
    state: RevisionState.optional()
      .describe("Only in this state"),
    pinned: z.stringbool().optional()
      .describe("Only those that are pinned, or are not"),
  }),
  reply: listOf(Revision),
});

export const listQuarantine = endpoint({
  method: "GET",
  path: "/api/v1/quarantine",
  access: "backups:read",
  summary: "List the configurations that wait for a decision, newest first",
  query: z.strictObject({
    ...Page.shape,
    siteId: SiteId.optional(),
    deviceId: DeviceId.optional(),
  }),
  reply: listOf(Revision),
});

export const decideQuarantine = endpoint({
  method: "POST",
  path: "/api/v1/quarantine/decisions",
  access: "backups:decide",
  summary:
    "Accept quarantined configurations as new baselines, or reject them: named ones, or all of a site",
  description:
    "Those that are named all or none. For a whole site, expected must be the number that waits there, lest " +
    "one is decided that nobody has looked at; they are decided a hundred at a time, each hundred all or none",
  body: z.strictObject({
    decision: z.enum(["accept", "reject"]),
    revisionIds: z.array(RevisionId).min(1).max(100).optional(),
    siteId: SiteId.optional(),
    expected: z.int().min(1).max(1_000).optional(),
  }).refine((body) => (body.revisionIds === undefined) !== (body.siteId === undefined), {
    path: ["revisionIds"],
    message: "name either revisionIds or siteId",
  }).refine((body) => (body.siteId === undefined) === (body.expected === undefined), {
    path: ["expected"],
    message:
      "comes with siteId: the number of configurations that wait there, at most 1,000 at once",
  }),
  reply: z.object({ items: z.array(Revision) }),
});

export const getRevision = endpoint({
  method: "GET",
  path: "/api/v1/revisions/:revisionId",
  access: "backups:read",
  summary: "Read what is known of a configuration, without its text",
  params: RevisionParams,
  reply: Revision,
});

export const updateRevision = endpoint({
  method: "PATCH",
  path: "/api/v1/revisions/:revisionId",
  access: "backups:write",
  summary: "Pin a configuration, so that retention never takes it, or comment it",
  params: RevisionParams,
  body: z.strictObject({
    pinned: z.boolean(),
    comment: text(500).meta({ example: "before the move" }),
  }).partial(),
  reply: Revision,
});

export const readRevisionText = endpoint({
  method: "GET",
  path: "/api/v1/revisions/:revisionId/text",
  access: "backups:read",
  summary: "Read a configuration with its secrets masked",
  params: RevisionParams,
  replyAs: "text",
});

export const downloadExactRevision = endpoint({
  method: "POST",
  path: "/api/v1/revisions/:revisionId/exact-downloads",
  access: "backups:read_exact",
  summary: "Download a configuration exactly as the device sent it, secrets included; audited",
  params: RevisionParams,
  replyAs: "bytes",
});

/** What it takes to bring a configuration back by hand: Rookery itself changes no device. */
export const RestoreMaterial = z.object({
  revision: Revision,
  /** As the device is called, and where it is reached, now. */
  device: z.object({ id: DeviceId, name: z.string(), host: z.string(), port: z.int() }),
  /** The vendor's, in one sentence. */
  procedure: z.string(),
  fileName: z.string(),
  /** Secrets included, from the first line of the configuration on. */
  text: z.string(),
  /** What the file has to be written in, so that the device gets its bytes back. */
  encoding: z.enum(["utf-8", "latin-1"]),
}).meta({ id: "RestoreMaterial" });
export type RestoreMaterial = z.infer<typeof RestoreMaterial>;

export const takeRestoreMaterial = endpoint({
  method: "POST",
  path: "/api/v1/revisions/:revisionId/restore-material",
  access: "backups:read_exact",
  summary: "Take a configuration out to bring it back, secrets and the procedure included; audited",
  params: RevisionParams,
  reply: RestoreMaterial,
});

export const exportConfigurations = endpoint({
  method: "POST",
  path: "/api/v1/configuration-exports",
  access: "backups:read",
  summary: "Export the current configurations of devices as a zip, secrets masked; audited",
  description:
    "A folder for each site, and `index.csv` as the last file: it names every device that was chosen, " +
    "and says of each configuration that is not there why",
  body: z.strictObject({
    deviceIds: z.array(DeviceId).min(1).max(5_000),
    /** Default: all captures. */
    capture: Capture.optional(),
  }),
  replyAs: "bytes",
  replyType: "application/zip",
});

const DiffOptions = {
  // Coercion takes null for 0, so the document has to be told that it is no null.
  context: z.coerce.number<number>().int().min(0).max(50).meta({ type: "integer" }).default(3)
    .describe("How many unchanged lines are shown around a change"),
  volatile: z.enum(["hidden", "shown"]).default("hidden")
    .describe("Whether lines that change by themselves are compared as well"),
};

const DiffQuery = z.strictObject({
  /** The older text; the revision of the same capture before this one when absent. */
  against: RevisionId.optional(),
  ...DiffOptions,
});

export const diffRevision = endpoint({
  method: "GET",
  path: "/api/v1/revisions/:revisionId/diff",
  access: "backups:read",
  summary: "Compare a configuration with the one before it, or with another, in hunks",
  params: RevisionParams,
  query: DiffQuery,
  reply: Diff,
});

export const readUnifiedDiff = endpoint({
  method: "GET",
  path: "/api/v1/revisions/:revisionId/unified-diff",
  access: "backups:read",
  summary: "Compare a configuration with the one before it, or with another, as a unified diff",
  params: RevisionParams,
  query: DiffQuery,
  replyAs: "text",
});

const DeviceDiffQuery = z.strictObject({
  capture: Capture.optional()
    .describe("Default: the first capture of the device's platform"),
  /** Another device, whose text is taken for the older one; the same device when absent. */
  against: DeviceId.optional(),
  againstCapture: Capture.optional()
    .describe("Default: the first capture of the other device's platform"),
  ...DiffOptions,
});

export const diffDevice = endpoint({
  method: "GET",
  path: "/api/v1/devices/:deviceId/diff",
  access: "backups:read",
  summary: "Compare the current configuration of a device with that of another, in hunks",
  description:
    "Or two captures of one device: `againstCapture=startup` shows what is not saved. Secrets of two " +
    "devices are not compared",
  params: DeviceParams,
  query: DeviceDiffQuery,
  reply: Diff,
});

export const readUnifiedDeviceDiff = endpoint({
  method: "GET",
  path: "/api/v1/devices/:deviceId/unified-diff",
  access: "backups:read",
  summary: "Compare the current configuration of a device with that of another, as a unified diff",
  description: "As GET …/diff does",
  params: DeviceParams,
  query: DeviceDiffQuery,
  replyAs: "text",
});

export const orderConfigurationCheck = endpoint({
  method: "POST",
  path: "/api/v1/configuration-checks",
  access: "tasks:write",
  summary: "Order a task that opens every stored configuration and holds it against its digest",
  description: "Changes nothing. The task's log names each one that cannot be read",
  reply: Task,
  status: 201,
});
