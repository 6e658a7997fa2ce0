import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { DeviceId, Instant, OccurrenceId, PolicyId, SiteId, UserId } from "../ids.ts";
import { JOB_KINDS, JobKind } from "../jobs/mod.ts";
import { Blackout } from "../schedules/blackout.ts";
import { Schedule } from "../schedules/schedule.ts";
import { listOf, Name, Page } from "./page.ts";
import { TagExpression } from "./tag_expression.ts";

/**
 * Which devices: the named ones, or those of the named sites (of all, without) that fulfil the tag expression, as they are
 * at each run. Archived ones are left out.
 */
export const Selection = z.strictObject({
  deviceIds: z.array(DeviceId).min(1).max(10_000).optional(),
  siteIds: z.array(SiteId).min(1).max(10_000).optional(),
  tags: TagExpression.optional(),
}).refine(
  ({ deviceIds, siteIds, tags }) =>
    deviceIds === undefined || siteIds === undefined && tags === undefined,
  { path: ["deviceIds"], message: "must stand alone, without siteIds and tags" },
).meta({ id: "Selection" });
export type Selection = z.infer<typeof Selection>;

/** What becomes of runs that nobody decided in time: nothing, or one run for all of them. */
export const Misfire = z.enum(["skip", "once"]).meta({ id: "Misfire" });
export type Misfire = z.infer<typeof Misfire>;

const PolicyFields = {
  name: Name,
  enabled: z.boolean(),
  kind: JobKind,
  /** As jobs of that kind take it. */
  payload: z.record(
    z.string().regex(/^[a-zA-Z0-9_]{1,40}$/, "is no name of a field"),
    z.unknown(),
  ),
  schedule: Schedule,
  selection: Selection,
  priority: z.int().min(-100).max(100),
  urgency: z.enum(["normal", "bulk"]),
  /** Devices are spread over so many minutes, each always at the same place. */
  jitterMinutes: z.int().min(0).max(1_440),
  /** By the clock of the schedule's zone. */
  blackouts: z.array(Blackout).max(50),
  misfire: Misfire,
  /** A job that has not begun so long after it was due is ended. */
  startWithinMinutes: z.int().min(1).max(10_080).nullable(),
  /** How long a session may take; null: what the device says. */
  totalSeconds: z.int().min(1).max(3_600).nullable(),
};

/** A device that a policy names. */
const NamedDevice = z.object({ id: DeviceId, name: z.string(), platform: z.string() });

/** What to do, for which devices, and when. */
export const Policy = z.object({
  id: PolicyId,
  ...PolicyFields,
  /** Null when no run will come: it is disabled, or its schedule is over. */
  nextAt: Instant.nullable(),
  /** The first of the devices that the selection names one by one. */
  devices: z.array(NamedDevice),
  createdBy: UserId.nullable(),
  createdByName: z.string().nullable(),
  createdAt: Instant,
  updatedAt: Instant,
}).meta({ id: "Policy" });
export type Policy = z.infer<typeof Policy>;

export const OccurrenceTrigger = z.enum([
  "schedule",
  "manual",
  /** What was waiting when the policy was changed, ordered again as it is now. */
  "change",
]).meta({ id: "OccurrenceTrigger" });
export type OccurrenceTrigger = z.infer<typeof OccurrenceTrigger>;

export const OccurrenceDecision = z.enum([
  "ran",
  /** Every device had such a job open already. */
  "coalesced",
  "skipped",
]).meta({ id: "OccurrenceDecision" });
export type OccurrenceDecision = z.infer<typeof OccurrenceDecision>;

/** Why devices, or all of them, got no job. */
export const SkipReason = z.enum([
  /** The control plane was away; see `misfire`. */
  "missed",
  "blackout",
  "disabled",
  "queue_full",
  "no_device",
  /** The driver of a device cannot do what the policy asks. */
  "unsupported",
]).meta({ id: "SkipReason" });
export type SkipReason = z.infer<typeof SkipReason>;

/** What became of one run of a policy. */
export const Occurrence = z.object({
  id: OccurrenceId,
  policyId: PolicyId,
  at: Instant,
  trigger: OccurrenceTrigger,
  /** Null for the moment in which its jobs are being made. */
  decision: OccurrenceDecision.nullable(),
  reason: SkipReason.nullable(),
  /** Devices that got a job, whose open job took this one in, that got none. */
  jobs: z.int(),
  coalesced: z.int(),
  skipped: z.int(),
  requestedBy: UserId.nullable(),
  decidedAt: Instant,
}).meta({ id: "Occurrence" });
export type Occurrence = z.infer<typeof Occurrence>;

/** A run to come. */
const PreviewedRun = z.object({
  at: Instant,
  /** On the wall clock of the zone, with its offset. */
  localTime: z.string(),
  /** It falls into a blackout window and will be skipped. */
  blackout: z.boolean(),
});
export const Preview = z.object({ runs: z.array(PreviewedRun) }).meta({ id: "Preview" });
export type Preview = z.infer<typeof Preview>;

/** How many runs a preview shows. */
export const PREVIEWED_RUNS = 20;

const PolicyParams = z.strictObject({ policyId: PolicyId });

/** A payload is read by its kind: its errors stand at its fields. */
function checkPayload(
  { kind, payload }: { readonly kind: JobKind; readonly payload: unknown },
  context: { addIssue(issue: { code: "custom"; path: PropertyKey[]; message: string }): void },
): void {
  const { error } = JOB_KINDS[kind].payload.safeParse(payload);
  for (const { path, message } of error?.issues ?? []) {
    context.addIssue({ code: "custom", path: ["payload", ...path], message });
  }
}

export const createPolicy = endpoint({
  method: "POST",
  path: "/api/v1/policies",
  access: "policies:write",
  summary: "Create a policy",
  body: z.strictObject({
    ...PolicyFields,
    enabled: PolicyFields.enabled.default(true),
    payload: PolicyFields.payload.default({}),
    selection: PolicyFields.selection.default({}),
    priority: PolicyFields.priority.default(0),
    urgency: PolicyFields.urgency.default("normal"),
    jitterMinutes: PolicyFields.jitterMinutes.default(0),
    blackouts: PolicyFields.blackouts.default([]),
    misfire: PolicyFields.misfire.default("once"),
    startWithinMinutes: PolicyFields.startWithinMinutes.default(null),
    totalSeconds: PolicyFields.totalSeconds.default(null),
  }).superRefine(checkPayload),
  reply: Policy,
  status: 201,
});

export const listPolicies = endpoint({
  method: "GET",
  path: "/api/v1/policies",
  access: "policies:read",
  summary: "List policies",
  query: z.strictObject({
    ...Page.shape,
    siteId: SiteId.optional(),
    deviceId: DeviceId.optional(),
    kind: JobKind.optional()
      .describe("Only of this kind of job"),
    enabled: z.stringbool().optional()
      .describe("Only those that are switched on, or off"),
  }),
  reply: listOf(Policy),
});

export const getPolicy = endpoint({
  method: "GET",
  path: "/api/v1/policies/:policyId",
  access: "policies:read",
  summary: "Read one policy",
  params: PolicyParams,
  reply: Policy,
});

export const updatePolicy = endpoint({
  method: "PATCH",
  path: "/api/v1/policies/:policyId",
  access: "policies:write",
  summary: "Change a policy, from this moment on",
  description: "Jobs that wait for its sake are cancelled and ordered again as the policy is now.",
  params: PolicyParams,
  body: z.strictObject(PolicyFields).partial(),
  reply: Policy,
});

export const deletePolicy = endpoint({
  method: "DELETE",
  path: "/api/v1/policies/:policyId",
  access: "policies:write",
  summary: "Delete a policy and cancel the jobs that wait for its sake",
  params: PolicyParams,
});

export const enablePolicy = endpoint({
  method: "POST",
  path: "/api/v1/policies/:policyId/enable",
  access: "policies:write",
  summary: "Let a policy run again, from its next run on",
  params: PolicyParams,
  reply: Policy,
});

export const disablePolicy = endpoint({
  method: "POST",
  path: "/api/v1/policies/:policyId/disable",
  access: "policies:write",
  summary: "Let a policy run no more, and cancel the jobs that wait for its sake",
  params: PolicyParams,
  reply: Policy,
});

export const runPolicy = endpoint({
  method: "POST",
  path: "/api/v1/policies/:policyId/runs",
  access: "policies:write",
  summary: "Run a policy now, without jitter, whether it is enabled or not",
  description: "Refused in a blackout window of the policy.",
  params: PolicyParams,
  reply: Occurrence,
  status: 202,
});

export const previewPolicy = endpoint({
  method: "GET",
  path: "/api/v1/policies/:policyId/preview",
  access: "policies:read",
  summary: `Read the next ${PREVIEWED_RUNS} runs of a policy, as if it were enabled`,
  params: PolicyParams,
  reply: Preview,
});

export const previewSchedule = endpoint({
  method: "POST",
  path: "/api/v1/schedule-previews",
  access: "policies:read",
  summary: `Compute the next ${PREVIEWED_RUNS} runs of a schedule; nothing is kept`,
  body: z.strictObject({
    schedule: Schedule,
    blackouts: PolicyFields.blackouts.default([]),
  }),
  reply: Preview,
});

export const listOccurrences = endpoint({
  method: "GET",
  path: "/api/v1/policies/:policyId/occurrences",
  access: "policies:read",
  summary: "List what became of the runs of a policy, the newest decision first",
  params: PolicyParams,
  query: z.strictObject({ ...Page.shape, decision: OccurrenceDecision.optional() }),
  reply: listOf(Occurrence),
});
