import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { DeviceId, Instant, JobId, PolicyId, SiteId, UserId } from "../ids.ts";
import { FailureCode } from "../jobs/failure.ts";
import { JobKind } from "../jobs/mod.ts";
import { TagExpression } from "./tag_expression.ts";

const MOST_NAMED = 10_000;

/** Which jobs: by their ids, or all that a filter selects. */
export const ManyJobs = z.strictObject({
  jobIds: z.array(JobId).min(1).max(MOST_NAMED).optional(),
  filter: z.strictObject({
    siteId: SiteId.optional(),
    deviceId: DeviceId.optional(),
    kind: z.array(JobKind).min(1).max(50).optional(),
    tags: TagExpression.optional(),
    policyId: PolicyId.optional(),
    requestedBy: UserId.optional(),
    failureCode: z.array(FailureCode).min(1).max(100).optional(),
    /** When they were ordered: from this time on … */
    from: Instant.optional(),
    /** … and before that one. */
    until: Instant.optional(),
  }).optional(),
  /** Says how many there are, and does nothing. */
  dryRun: z.boolean().default(false),
  /** With a filter: how many a dry run said. When there are more by now, nothing is done. */
  expected: z.int().min(0).max(10_000_000).optional(),
}).superRefine((order, context) => {
  const refuse = (path: string, message: string) =>
    context.addIssue({ code: "custom", path: [path], message });
  if ((order.jobIds === undefined) === (order.filter === undefined)) {
    refuse("jobIds", "name either jobIds or filter");
  }
  if (order.filter !== undefined && order.expected === undefined && !order.dryRun) {
    refuse("expected", "is required beside a filter: say how many a dryRun counted");
  }
}).meta({ id: "ManyJobs" });
export type ManyJobs = z.infer<typeof ManyJobs>;

export const cancelJobs = endpoint({
  method: "POST",
  path: "/api/v1/jobs/cancellations",
  access: "jobs:write",
  summary: "Cancel many jobs that wait or run",
  body: ManyJobs,
  reply: z.object({
    /** How many wait or run, of those that were named. */
    matched: z.int(),
    cancelled: z.int(),
    /** Their agents are told. */
    requested: z.int(),
  }),
});

export const requeueJobs = endpoint({
  method: "POST",
  path: "/api/v1/jobs/requeues",
  access: "jobs:write",
  summary: "Try many dead jobs again, as new ones",
  description:
    "Of those that no later success has made good; a job that the device has waiting takes the new one in",
  body: ManyJobs,
  reply: z.object({
    /** How many are dead and not made good, of those that were named, on devices that are not archived. */
    matched: z.int(),
    requeued: z.int(),
    coalesced: z.int(),
  }),
});
