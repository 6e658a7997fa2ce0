import { decodeText } from "@rookery/shared/drivers/decode.ts";
import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import { type CommandOutput, MOST_OUTPUT_BYTES } from "@rookery/shared/jobs/run_commands.ts";
import { DeviceError } from "../ssh/ssh_failure.ts";
import type { NegotiatedAlgorithms } from "../ssh/transport.ts";
import type { CommandOutput as CommandReading, RunCommand } from "./command.ts";
import { onCommandLine } from "./on_command_line.ts";
import type { DeviceOrder, SessionOptions } from "./order.ts";

/** Commands to run on a device; that each of them only reads was checked before. */
export interface CommandsOrder extends DeviceOrder {
  readonly kind: "run_commands";
  readonly commands: readonly string[];
}

export interface CommandsReport {
  readonly kind: "run_commands";
  readonly outputs: readonly CommandOutput[];
  readonly hostKey: HostKeySeen;
  readonly algorithms: NegotiatedAlgorithms;
}

/** Runs commands one after the other in one session. One that the device refuses is an answer; a lost session is a failure. */
export async function runCommandsOn(
  order: CommandsOrder,
  options: SessionOptions,
): Promise<CommandsReport> {
  const { result: outputs, ...session } = await onCommandLine(
    order,
    options,
    ({ run }) => runEach(run, order, options),
  );
  return { kind: "run_commands", outputs, ...session };
}

async function runEach(
  run: RunCommand,
  order: CommandsOrder,
  { onStep }: SessionOptions,
): Promise<readonly CommandOutput[]> {
  const outputs: CommandOutput[] = [];
  let left = Math.min(MOST_OUTPUT_BYTES, order.limits.maxBytes);
  for (const [index, command] of order.commands.entries()) {
    const number = `${index + 1} of ${order.commands.length}`;
    onStep?.(`running command ${number}`, Math.floor(30 + 65 * index / order.commands.length));
    const { bytes, failure } = await runUndisturbed(run, { command, maxBytes: left });
    left -= bytes.length;
    if (left <= 0) throw new DeviceError("output_too_large");
    outputs.push({ command, text: readable(bytes), ...(failure && { failure }) });
  }
  return outputs;
}

interface OneCommand {
  readonly command: string;
  readonly maxBytes: number;
}

/** An output into which something else was written is asked for once more. */
async function runUndisturbed(run: RunCommand, one: OneCommand): Promise<CommandReading> {
  const first = await runOne(run, one);
  const second = first.interrupted ? await runOne(run, one) : first;
  if (!second.interrupted) return second;
  const detail = "twice a prompt came in the middle of it";
  return { ...second, failure: { code: "configuration_interleaved", detail } };
}

async function runOne(run: RunCommand, { command, maxBytes }: OneCommand) {
  try {
    return await run(command, { maxBytes, isWhole: () => true, confirmPrompt: false });
  } catch (error) {
    const isLarge = error instanceof DeviceError && error.code === "configuration_too_large";
    throw isLarge ? new DeviceError("output_too_large", undefined, { cause: error }) : error;
  }
}

/** For people to read: what is no text in it is shown as such. */
export function readable(bytes: Uint8Array): string {
  // deno-lint-ignore no-control-regex -- a device's text goes into pages
  return decodeText(bytes).text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "\ufffd").toWellFormed();
}
