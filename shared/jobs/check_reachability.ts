import { z } from "zod";
import { HostKeySeen, SshAlgorithms } from "./backup_config.ts";
import { Failure, toldText } from "./failure.ts";
import { kind } from "./kind.ts";

/** What a `check_reachability` job asks for: how far to go. */
export const CheckReachabilityPayload = z.strictObject({
  /** Also log in; otherwise it ends with the device's SSH identification, and no credential is used. */
  login: z.boolean().default(false),
}).meta({ id: "CheckReachabilityPayload" });
export type CheckReachabilityPayload = z.infer<typeof CheckReachabilityPayload>;

/** The stages of reaching a device, in their order. */
export const ReachStage = z.enum(["tcp", "banner", "login"]);
export type ReachStage = z.infer<typeof ReachStage>;

/**
 * What a completed `check_reachability` reports: the stages that were passed, each with how long it took and what was seen
 * (the address, the identification line), and why the next one was not.
 */
export const CheckReachabilityOutcome = z.strictObject({
  reachable: z.boolean(),
  stages: z.array(z.strictObject({
    stage: ReachStage,
    milliseconds: z.number().min(0).max(4_000_000),
    seen: toldText(255).optional(),
  })).max(3),
  failure: Failure.optional(),
  hostKey: HostKeySeen.optional(),
  algorithms: SshAlgorithms.optional(),
}).refine((outcome) => outcome.reachable === (outcome.failure === undefined), {
  path: ["failure"],
  message: "must say why the device is not reachable, and only then",
}).meta({ id: "CheckReachabilityOutcome" });
export type CheckReachabilityOutcome = z.infer<typeof CheckReachabilityOutcome>;

/** Reaches a device over TCP, reads its SSH identification and, if asked to, logs in. That it is not there is an answer. */
export const checkReachability = kind({
  payload: CheckReachabilityPayload,
  outcome: CheckReachabilityOutcome,
  summary: "See whether the device can be reached",
  oneForDevice: false,
  logsIn: ({ login }) => login,
  commandsOf: () => [],
  refuse: () => [],
});
