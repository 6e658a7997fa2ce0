import { decodeText } from "@rookery/shared/drivers/decode.ts";
import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { DeviceError, plainText } from "../ssh/ssh_failure.ts";
import type { DeviceConnection, ExecResult } from "../ssh/transport.ts";
import { asksForNewPassword } from "./dialogue.ts";
import { type CommandFailure, findFailure, findFailureInAny, type RunCommand } from "./command.ts";

/** A POSIX shell's statuses for a command that it does not find or may not run. */
const NOT_RUN = [126, 127];

/** Runs commands each in its own exec channel, where the end of the text is the end of the channel. */
export function execRunner(
  connection: DeviceConnection,
  { driver, signal, idleSeconds }: {
    readonly driver: Driver;
    readonly signal: AbortSignal;
    readonly idleSeconds: number;
  },
): RunCommand {
  return async (command, { maxBytes }) => {
    const result = await connection.exec(command, { signal, maxBytes, idleSeconds });
    const failure = whyFailed(driver, result);
    return { bytes: result.stdout, interrupted: false, paged: false, ...failure && { failure } };
  };
}

function whyFailed(driver: Driver, result: ExecResult): CommandFailure | undefined {
  const said = findFailure(driver, decodeText(result.stdout.subarray(0, 4_000)).text) ??
    findFailureInAny(driver, result.stderr);
  if (said) return said;
  const { exitStatus } = result;
  if (exitStatus === 0) return undefined;
  if (exitStatus === undefined) {
    if (result.stdout.length > 0) {
      return {
        code: "configuration_truncated",
        detail: "its channel closed without an exit status",
      };
    }
    throw new DeviceError(
      "connection_lost",
      "The device closed the channel of a command without text and without an exit status",
    );
  }
  if (asksForNewPassword(result.stderr)) throw new DeviceError("password_expired");
  const words = plainText(result.stderr, 120);
  return {
    code: NOT_RUN.includes(exitStatus) ? "command_rejected" : "command_failed",
    detail: `it ended with status ${exitStatus}${words && ` and said "${words}"`}`,
  };
}
