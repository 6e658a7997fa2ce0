import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { AgentId, DeviceId, Instant, JobId, SiteId } from "../ids.ts";
import { FailureCode } from "../jobs/failure.ts";
import { JobKind } from "../jobs/mod.ts";
import { JobState } from "./jobs.ts";
import { listOf, Page, someOf } from "./page.ts";

/** What happened to a job, as a stream tells it; `retrying`: an attempt came to nothing, and the job waits again. */
export const JobChange = z.object({
  jobId: JobId,
  siteId: SiteId,
  deviceId: DeviceId,
  change: z.enum([
    "enqueued",
    "raised",
    "granted",
    "started",
    "progress",
    "retrying",
    "cancel_requested",
    "ended",
  ]),
  at: Instant,
  state: JobState.optional(),
  kind: JobKind.optional(),
  dueAt: Instant.optional(),
  agentId: AgentId.optional(),
  epoch: z.int().optional(),
  failureCode: FailureCode.optional(),
  step: z.string().optional(),
  percent: z.int().optional(),
  bytes: z.int().optional(),
}).meta({ id: "JobChange" });
export type JobChange = z.infer<typeof JobChange>;

export const followJobs = endpoint({
  method: "GET",
  path: "/api/v1/jobs/events",
  access: "jobs:read",
  summary: "Follow what happens to jobs (server-sent events)",
  description:
    "The first event is `hello`; every later one is `change`, with a JobChange as its data. `Last-Event-ID` goes on from " +
    "there, within a day; whoever was away for longer gets `reset` and reads anew what it shows. The stream ends with the " +
    "session or the token of its caller",
  query: z.strictObject({
    siteId: SiteId.optional(),
    deviceId: DeviceId.optional(),
    jobId: JobId.optional(),
  }),
  reply: JobChange,
  replyAs: "events",
});

export const jobStatistics = endpoint({
  method: "GET",
  path: "/api/v1/jobs/statistics",
  access: "jobs:read",
  summary: "Count jobs: what waits and runs now, and what ended in a span of time",
  query: z.strictObject({
    siteId: SiteId.optional(),
    kind: someOf(JobKind).optional()
      .describe("Kinds of jobs, divided by commas"),
    from: Instant.optional()
      .describe("From this time on; default: a day before `until`, at most 31 days"),
    until: Instant.optional()
      .describe("Before this time; default: now"),
  }),
  reply: z.object({
    from: Instant,
    until: Instant,
    states: z.record(JobState, z.int()),
    /** Of all that ended in the span. */
    ended: z.int(),
    /** Completed ones of those that were not cancelled, from 0 to 1; null when there are none. */
    successRate: z.number().nullable(),
    /** How many ended for which reason. */
    failures: z.partialRecord(FailureCode, z.int()),
  }),
});

/** One line of what happened to a job. */
export const JobLogLine = z.object({
  at: Instant,
  event: z.enum([
    "enqueued",
    "raised",
    "granted",
    "started",
    "progress",
    "attempt_ended",
    "cancel_requested",
    "ended",
  ]),
  level: z.enum(["info", "warn", "error"]),
  /** For people. */
  text: z.string(),
  /** The number of the attempt. */
  epoch: z.int().nullable(),
  agentId: AgentId.nullable(),
  failureCode: FailureCode.nullable(),
}).meta({ id: "JobLogLine" });
export type JobLogLine = z.infer<typeof JobLogLine>;

export const listJobLog = endpoint({
  method: "GET",
  path: "/api/v1/jobs/:jobId/log",
  access: "jobs:read",
  summary: "Read what happened to a job, oldest first",
  params: z.strictObject({ jobId: JobId }),
  query: z.strictObject(Page.shape),
  reply: listOf(JobLogLine),
});
