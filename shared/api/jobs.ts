import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { AgentId, DeviceId, Instant, JobId, LeaseId, SiteId } from "../ids.ts";
import { FailureCode } from "../jobs/failure.ts";
import { JobKind } from "../jobs/mod.ts";
import { BackupConfigPayload } from "../jobs/backup_config.ts";
import { JobCause } from "./change_hints.ts";
import { listOf, Page } from "./page.ts";

/** How urgent a job is: "back up now" is interactive, a schedule's run normal, a mass job bulk. */
export const JobUrgency = z.enum(["interactive", "normal", "bulk"]).meta({ id: "JobUrgency" });
export type JobUrgency = z.infer<typeof JobUrgency>;

export const JobState = z.enum([
  "scheduled",
  "available",
  "leased",
  "completed",
  "failed",
  "cancelled",
  "dead",
]).meta({ id: "JobState" });
export type JobState = z.infer<typeof JobState>;

/** What keeps an available job waiting. */
export const Hold = z.enum([
  /** No new lease is granted anywhere until maintenance is switched off. */
  "maintenance",
  "site_paused",
  /** The device may be touched at certain times only. */
  "device_window",
  "site_limit",
  /** Devices of the site time out: it may have fewer sessions for some minutes. */
  "site_slowed",
  /** As many sessions have started at the site as may in a minute. */
  "start_rate",
  "device_busy",
  /** The credential was refused: one session at a time may use it, in the whole system, until one succeeds. */
  "credential_suspect",
  /** The credential has not proven itself lately: few sessions may use it, twice as many after each success. */
  "credential_ramp",
  /** The credential is quarantined, or is for this device: the job ends in a moment. */
  "credential_quarantined",
  /** No agent of the site is live. */
  "no_agent",
  /** No agent of the site is live, and one was refused for its version: update it. */
  "agent_too_old",
  "agent_capacity",
  /** No live agent of the site has the driver of the device's platform in the version of the control plane. */
  "driver_missing",
  /** No live agent of the site knows this kind of job: update it. */
  "kind_unsupported",
]).meta({ id: "Hold" });
export type Hold = z.infer<typeof Hold>;

export const Job = z.object({
  id: JobId,
  siteId: SiteId,
  deviceId: DeviceId,
  kind: JobKind,
  state: JobState,
  priority: z.int(),
  urgency: JobUrgency,
  dueAt: Instant,
  createdAt: Instant,
  endedAt: Instant.nullable(),
  attempts: z.int(),
  agentId: AgentId.nullable(),
  cancelRequested: z.boolean(),
  failureCode: FailureCode.nullable(),
  failureDetail: z.string().nullable(),
  /** The failure in plain words. */
  reason: z.string().nullable(),
  hold: Hold.nullable(),
  /** What the device was said to have been changed by, when that is why it is backed up. */
  cause: JobCause.nullable(),
}).meta({ id: "Job" });
export type Job = z.infer<typeof Job>;

export const Attempt = z.object({
  leaseId: LeaseId,
  epoch: z.int(),
  agentId: AgentId,
  outcome: z.string(),
  failureCode: FailureCode.nullable(),
  failureDetail: z.string().nullable(),
  durationMs: z.int().nullable(),
  grantedAt: Instant,
  endedAt: Instant,
}).meta({ id: "Attempt" });

const JobParams = z.strictObject({ jobId: JobId });

/** "Back up now" for a device, a list of devices or a whole site. */
export const BackupOrder = z.strictObject({
  deviceIds: z.array(DeviceId).min(1).max(10_000).optional(),
  siteId: SiteId.optional(),
  captures: BackupConfigPayload.shape.captures,
  priority: z.int().min(-100).max(100).default(0),
  urgency: JobUrgency.default("interactive"),
}).refine((order) => (order.deviceIds === undefined) !== (order.siteId === undefined), {
  path: ["deviceIds"],
  message: "name either deviceIds or siteId",
});

export const createJobs = endpoint({
  method: "POST",
  path: "/api/v1/jobs",
  access: "jobs:write",
  summary: "Back up now: a device, a list of devices, or all devices of a site",
  body: BackupOrder,
  reply: z.object({
    jobs: z.array(z.object({
      jobId: JobId,
      deviceId: DeviceId,
      /** The device had such a job waiting; it was moved to the front. */
      coalesced: z.boolean(),
    })),
  }),
  status: 202,
});

export const listJobs = endpoint({
  method: "GET",
  path: "/api/v1/jobs",
  access: "jobs:read",
  summary: "List jobs, newest first",
  query: z.strictObject({
    ...Page.shape,
    siteId: SiteId.optional(),
    deviceId: DeviceId.optional(),
    state: JobState.optional(),
  }),
  reply: listOf(Job),
});

export const getJob = endpoint({
  method: "GET",
  path: "/api/v1/jobs/:jobId",
  access: "jobs:read",
  summary: "Read one job with its attempts",
  params: JobParams,
  reply: z.object({ ...Job.shape, history: z.array(Attempt) }),
});

export const cancelJob = endpoint({
  method: "POST",
  path: "/api/v1/jobs/:jobId/cancellation",
  access: "jobs:write",
  summary: "Cancel a job: at once when it waits, through its agent when it runs",
  params: JobParams,
  reply: z.object({ state: z.enum(["cancelled", "requested"]) }),
});

export const requeueJob = endpoint({
  method: "POST",
  path: "/api/v1/jobs/:jobId/requeue",
  access: "jobs:write",
  summary: "Try an ended job again, as a new one",
  params: JobParams,
  reply: z.object({ jobId: JobId, coalesced: z.boolean() }),
  status: 201,
});
