import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { AgentId, DeviceId, Instant, JobId, LeaseId, PolicyId, SiteId, UserId } from "../ids.ts";
import { FailureCode } from "../jobs/failure.ts";
import { JOB_KINDS, JobKind } from "../jobs/mod.ts";
import { JobCause } from "./change_hints.ts";
import { listOf, Page, someOf } from "./page.ts";
import { TagExpression } from "./tag_expression.ts";

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

/** What keeps a job waiting. */
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
  /** It is scheduled for later, or is tried again later. */
  "not_due",
  /** No live agent of the site has the driver of the device's platform in the version of the control plane. */
  "driver_missing",
  /** No live agent of the site knows this kind of job: update it. */
  "kind_unsupported",
]).meta({ id: "Hold" });
export type Hold = z.infer<typeof Hold>;

/** How far the agent says it is. */
export const JobProgress = z.object({
  /** What it does, in its own words. */
  step: z.string(),
  percent: z.int().nullable(),
  /** Read from the device so far. */
  bytes: z.int().nullable(),
  at: Instant,
}).meta({ id: "JobProgress" });

export const Job = z.object({
  id: JobId,
  siteId: SiteId,
  deviceId: DeviceId,
  kind: JobKind,
  state: JobState,
  priority: z.int(),
  urgency: JobUrgency,
  dueAt: Instant,
  /** By then it must have begun, or it fails. */
  expiresAt: Instant.nullable(),
  /** How long its session may take; null: what the device says. */
  timeoutSeconds: z.int().nullable(),
  createdAt: Instant,
  requestedBy: UserId.nullable(),
  policyId: PolicyId.nullable(),
  /** The job that it is another try of. */
  parentId: JobId.nullable(),
  /** When the session of the newest attempt began; null while it waits for one. */
  startedAt: Instant.nullable(),
  endedAt: Instant.nullable(),
  /** From that start to the end, or to now. */
  durationMs: z.int().nullable(),
  attempts: z.int(),
  agentId: AgentId.nullable(),
  cancelRequested: z.boolean(),
  failureCode: FailureCode.nullable(),
  failureDetail: z.string().nullable(),
  /** The failure in plain words. */
  reason: z.string().nullable(),
  hold: Hold.nullable(),
  /** While it runs, and once its agent has said something. */
  progress: JobProgress.nullable(),
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
  /** When its session began; null when it never did. */
  startedAt: Instant.nullable(),
  endedAt: Instant,
}).meta({ id: "Attempt" });

const JobParams = z.strictObject({ jobId: JobId });

/** What to do, with which devices, when. Exactly one of `deviceIds`, and `siteId` with or without `tags`, or `tags` alone. */
export const JobOrder = z.strictObject({
  kind: JobKind.default("backup_config"),
  /** What the kind asks for. */
  payload: z.record(z.string().max(100), z.unknown()).default({}),
  deviceIds: z.array(DeviceId).min(1).max(10_000).optional(),
  siteId: SiteId.optional(),
  tags: TagExpression.optional(),
  /** When; default: now. */
  at: Instant.optional(),
  /** By then it must have begun; a job that has not fails with `not_begun_in_time`. */
  expiresAt: Instant.optional(),
  /** How long the session may take; default: what the device says. */
  timeoutSeconds: z.int().min(1).max(3_600).optional(),
  /** Ten minutes earlier for each, among jobs of the same urgency. */
  priority: z.int().min(-100).max(100).default(0),
  urgency: JobUrgency.default("interactive"),
}).superRefine((order, context) => {
  const refuse = (path: PropertyKey[], message: string) =>
    context.addIssue({ code: "custom", path, message });
  const named = [order.deviceIds, order.siteId ?? order.tags].filter((by) => by !== undefined);
  if (named.length !== 1) refuse(["deviceIds"], "name either deviceIds, or siteId, tags or both");
  const { at, expiresAt } = order;
  if (at !== undefined && expiresAt !== undefined && Date.parse(expiresAt) <= Date.parse(at)) {
    refuse(["expiresAt"], "must be later than at");
  }
  const { error } = JOB_KINDS[order.kind].payload.safeParse(order.payload);
  for (const issue of error?.issues ?? []) {
    const path = ["payload", ...issue.path];
    if (issue.code !== "unrecognized_keys") refuse(path, issue.message);
    else for (const key of issue.keys) refuse([...path, key], issue.message);
  }
}).meta({ id: "JobOrder" });
export type JobOrder = z.infer<typeof JobOrder>;

export const createJobs = endpoint({
  method: "POST",
  path: "/api/v1/jobs",
  access: "jobs:write",
  summary: "Order jobs for a device, a list, a site, or what has certain tags; now or later",
  body: JobOrder,
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
    state: someOf(JobState).optional()
      .describe("States of jobs, divided by commas"),
    kind: someOf(JobKind).optional()
      .describe("Kinds of jobs, divided by commas"),
    tags: TagExpression.optional()
      .describe("Only of devices whose tags fit this expression"),
    policyId: PolicyId.optional(),
    requestedBy: UserId.optional(),
    failureCode: someOf(FailureCode).optional()
      .describe("Codes of failures, divided by commas"),
    from: Instant.optional()
      .describe("Ordered from this time on"),
    until: Instant.optional()
      .describe("Ordered before this time"),
  }),
  reply: listOf(Job),
});

export const getJob = endpoint({
  method: "GET",
  path: "/api/v1/jobs/:jobId",
  access: "jobs:read",
  summary: "Read one job with its attempts",
  params: JobParams,
  reply: z.object({
    ...Job.shape,
    /** What the kind was asked for, and what it reported. */
    payload: z.unknown(),
    report: z.unknown(),
    history: z.array(Attempt),
  }),
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
