import { z } from "zod";
import { DRIVERS, linesAround } from "../drivers/mod.ts";
import { PROBE_DRIVER, probesOf } from "../drivers/probe.ts";
import { isPlainRead } from "../drivers/read_only.ts";
import { HostKeySeen, SshAlgorithms } from "./backup_config.ts";
import { toldText } from "./failure.ts";
import { kind } from "./kind.ts";

/** What a `detect_platform` job asks: nothing, or which commands to try. An older agent may know other drivers. */
export const DetectPlatformPayload = z.strictObject({
  probes: z.array(z.string().min(1).max(500)).max(50)
    .default(() => [...probesOf(DRIVERS.values())]),
}).meta({ id: "DetectPlatformPayload" });
export type DetectPlatformPayload = z.infer<typeof DetectPlatformPayload>;

/** Of each answer, so much is looked at: what a device is stands at the beginning. */
export const MOST_ANSWER_CHARACTERS = 8_192;

/** What a device showed of itself. */
export const Evidence = z.strictObject({
  /** Its SSH identification line (RFC 4253, section 4.2). */
  ident: toldText(255),
  /** The line at which it waits for a command; null when it gave no shell. */
  prompt: toldText(200).nullable(),
  answers: z.array(z.strictObject({
    command: z.string().max(500),
    text: toldText(MOST_ANSWER_CHARACTERS),
  })).max(50),
});
export type Evidence = z.infer<typeof Evidence>;

/** What a completed `detect_platform` reports; which platforms that fits is worked out by the control plane. */
export const DetectPlatformOutcome = z.strictObject({
  ...Evidence.shape,
  hostKey: HostKeySeen,
  algorithms: SshAlgorithms,
}).meta({ id: "DetectPlatformOutcome" });
export type DetectPlatformOutcome = z.infer<typeof DetectPlatformOutcome>;

/** Asks a device what it is, by its identification and by commands that read. Its device's platform is not looked at. */
export const detectPlatform = kind({
  payload: DetectPlatformPayload,
  outcome: DetectPlatformOutcome,
  summary: "Find out what the device is",
  oneForDevice: true,
  logsIn: () => true,
  commandsOf: (_driver, { probes }) => [...linesAround(PROBE_DRIVER), ...probes],
  refuse: (_driver, { probes }) =>
    probes.flatMap((command, index) => {
      if (isPlainRead(command)) return [];
      return [{ detail: "is no command that only reads", pointer: `/probes/${index}` }];
    }),
});
