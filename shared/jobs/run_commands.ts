import { z } from "zod";
import { linesAround } from "../drivers/mod.ts";
import { mayRead } from "../drivers/read_only.ts";
import { HostKeySeen, SshAlgorithms } from "./backup_config.ts";
import { Failure, toldText } from "./failure.ts";
import { kind } from "./kind.ts";

/** All outputs of one job together, in bytes: they travel in the result itself. */
export const MOST_OUTPUT_BYTES = 192 * 1_024;

/** What a `run_commands` job asks for: commands that read, in this order, in one session. */
export const RunCommandsPayload = z.strictObject({
  commands: z.array(
    z.string().min(1).max(500).regex(/^[\x20-\x7e]+$/, "must be one line of plain text"),
  ).min(1).max(20).meta({ example: ["show version"] }),
}).meta({ id: "RunCommandsPayload" });
export type RunCommandsPayload = z.infer<typeof RunCommandsPayload>;

/** What one command gave, whole. */
export const CommandOutput = z.strictObject({
  command: z.string().max(500),
  text: toldText(MOST_OUTPUT_BYTES),
  /** The device refused it; `text` is what it said. */
  failure: Failure.optional(),
});
export type CommandOutput = z.infer<typeof CommandOutput>;

/** What a completed `run_commands` reports: one output for each command. Secrets in it are taken out where it is kept. */
export const RunCommandsOutcome = z.strictObject({
  outputs: z.array(CommandOutput).min(1).max(20),
  hostKey: HostKeySeen,
  algorithms: SshAlgorithms,
}).meta({ id: "RunCommandsOutcome" });
export type RunCommandsOutcome = z.infer<typeof RunCommandsOutcome>;

/** Runs commands that read, and nothing else: control plane and agent each look at every one of them. */
export const runCommands = kind({
  payload: RunCommandsPayload,
  outcome: RunCommandsOutcome,
  summary: "Run commands that read",
  oneForDevice: false,
  logsIn: () => true,
  commandsOf: (driver, { commands }) => [...linesAround(driver), ...commands],
  refuse: (driver, { commands }) =>
    commands.flatMap((command, index) => {
      if (mayRead(driver, command)) return [];
      const detail = `is no command that only reads on ${driver.platform}`;
      return [{ detail, pointer: `/commands/${index}` }];
    }),
});
