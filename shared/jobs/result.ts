import { z } from "zod";
import { AgentId, BootId, JobId, LeaseId, MAX_INTEGER, SiteId } from "../ids.ts";
import { HostKeySeen } from "./backup_config.ts";
import { Failure } from "./failure.ts";

/** The JWS type of a result. */
export const RESULT_TYPE = "rookery-result+jwt";

/** How an attempt ended: the kind's outcome, or why it failed. */
export const AttemptReport = z.discriminatedUnion("status", [
  z.strictObject({ status: z.literal("completed"), outcome: z.json() }),
  z.strictObject({
    status: z.literal("failed"),
    failure: Failure,
    /** The key the device showed, when the failure is about it. */
    hostKey: HostKeySeen.optional(),
  }),
  z.strictObject({ status: z.literal("cancelled") }),
]);
export type AttemptReport = z.infer<typeof AttemptReport>;

/**
 * The claims of a result, signed by the agent (JWS, Ed25519, typ `rookery-result+jwt`). The same envelope
 * gets the same answer for ever; a superseded one changes no state.
 */
export const ResultClaims = z.strictObject({
  iss: AgentId,
  aud: z.string(),
  sub: JobId,
  jti: LeaseId,
  siteId: SiteId,
  epoch: z.int().min(1),
  bootId: BootId,
  incarnation: z.int().min(1),
  report: AttemptReport,
  /** How long the attempt took, by the agent's monotonic clock; beyond what can be stored it is "very long". */
  durationMs: z.int().min(0).overwrite((ms) => Math.min(ms, MAX_INTEGER)),
  agentVersion: z.string().max(40),
}).meta({ id: "ResultClaims" });
export type ResultClaims = z.infer<typeof ResultClaims>;
