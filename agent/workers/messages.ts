/**
 * What the agent's main thread and a session thread say to each other. A hostile device takes over a session thread
 * at worst, so whatever comes from one is checked for its form, and a report also against its order.
 */
import { z } from "zod";
import {
  CaptureOutcome,
  DeviceFacts,
  HostKeySeen,
  SshAlgorithms,
} from "@rookery/shared/jobs/backup_config.ts";
import { CheckReachabilityOutcome } from "@rookery/shared/jobs/check_reachability.ts";
import { DetectPlatformOutcome } from "@rookery/shared/jobs/detect_platform.ts";
import { FailureCode, toldText } from "@rookery/shared/jobs/failure.ts";
import { RunCommandsOutcome } from "@rookery/shared/jobs/run_commands.ts";
import type { LocalPolicy } from "../local_policy.ts";
import type { SessionOrder } from "../session/session.ts";

/** An order as it travels: no functions, and the credential beside it, in bytes that can be wiped. */
export type SentOrder = Sent<SessionOrder>;
type Sent<Order> = Order extends SessionOrder ? Omit<Order, "credential" | "allowAddress"> : never;

/** Main thread to session thread. Not checked there: whoever controls the main thread needs no session thread. */
export type ToThread =
  | { readonly type: "open"; readonly pulse: SharedArrayBuffer; readonly policy: LocalPolicy }
  | {
    readonly type: "run";
    readonly id: number;
    readonly order: SentOrder;
    readonly credential: Uint8Array<ArrayBuffer>;
  }
  | { readonly type: "abort"; readonly id: number; readonly code: FailureCode };

const SessionId = z.int().min(1);

/** A backup whose texts are there in full; the names and limits of its order are checked by `whatIsWrong`. */
const SentBackup = z.strictObject({
  kind: z.literal("backup_config"),
  captures: z.array(z.strictObject({
    outcome: CaptureOutcome,
    raw: z.instanceof(Uint8Array<ArrayBuffer>),
  })).min(1).max(50),
  facts: DeviceFacts,
  hostKey: HostKeySeen,
  algorithms: SshAlgorithms,
});

export const SentReport = z.discriminatedUnion("kind", [
  SentBackup,
  z.strictObject({
    ...CheckReachabilityOutcome.shape,
    kind: z.literal("check_reachability"),
  }),
  z.strictObject({ ...RunCommandsOutcome.shape, kind: z.literal("run_commands") }),
  z.strictObject({ ...DetectPlatformOutcome.shape, kind: z.literal("detect_platform") }),
]);
export type SentReport = z.infer<typeof SentReport>;

/** Session thread to main thread. */
export const FromThread = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("progress"),
    id: SessionId,
    step: toldText(80),
    percent: z.int().min(0).max(100),
  }),
  z.strictObject({ type: z.literal("completed"), id: SessionId, report: SentReport }),
  z.strictObject({
    type: z.literal("failed"),
    id: SessionId,
    code: FailureCode,
    message: toldText(2_000),
    hostKey: HostKeySeen.optional(),
  }),
  // Something that no session foresaw: its text is for the agent's log only.
  z.strictObject({ type: z.literal("faulted"), id: SessionId, message: toldText(2_000) }),
]);
export type FromThread = z.infer<typeof FromThread>;
