import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { DeviceError } from "../ssh/ssh_failure.ts";
import type { DeviceConnection } from "../ssh/transport.ts";
import type { RunCommand } from "./command.ts";
import { Console } from "./console.ts";
import { learnPrompt } from "./dialogue.ts";
import { execRunner } from "./exec_command.ts";
import { enterMode, type Secrets } from "./modes.ts";
import { shellRunner } from "./shell_command.ts";

/** A device that is ready for the driver's commands. */
export interface CommandLine {
  readonly run: RunCommand;
  /** The line at which it waits; empty over exec, which shows none. */
  readonly prompt: string;
  /** Leaves without saving anything; never fails, and never waits for long. */
  readonly logOut: () => Promise<void>;
}

export interface CommandLineOptions {
  readonly driver: Driver;
  readonly secrets: Secrets;
  readonly idleSeconds: number;
  readonly signal: AbortSignal;
}

/** How long a device may take to close the session after the last line of the logout. */
const LOGOUT_MS = 1_000;
/** The greeting and the answers to opening lines are short. */
const MAX_TALK_BYTES = 1_024 * 1_024;

/** Brings a device to where its captures are read: by exec at once, in a shell through login and modes. */
export async function openCommandLine(
  connection: DeviceConnection,
  options: CommandLineOptions,
): Promise<CommandLine> {
  const { driver, signal, idleSeconds } = options;
  if (driver.transport === "exec") {
    const logOut = () => Promise.resolve();
    return { run: execRunner(connection, { driver, signal, idleSeconds }), prompt: "", logOut };
  }
  const shell = await connection.openShell(driver.terminal, { signal });
  const console = new Console(shell, { signal, idleSeconds });
  console.startAccount(MAX_TALK_BYTES);
  const prompt = await enterMode(console, {
    driver,
    mode: driver.captureMode ?? "",
    prompt: await learnPrompt(console, driver),
    secrets: options.secrets,
  });
  const run = shellRunner({ console, driver, prompt });
  await quietTerminal(run, driver);
  return { run, prompt: prompt.text, logOut: () => logOut(console, driver) };
}

async function quietTerminal(run: RunCommand, driver: Driver): Promise<void> {
  for (const { send, mayFail } of driver.opening) {
    const { failure } = await run(send, {
      maxBytes: MAX_TALK_BYTES,
      isWhole: () => true,
      confirmPrompt: false,
    });
    if (failure && !mayFail) {
      throw new DeviceError(failure.code, `Cannot prepare the terminal: ${failure.detail}`);
    }
  }
}

async function logOut(console: Console, driver: Driver): Promise<void> {
  try {
    for (const line of driver.logout) console.send(line + driver.newline);
    const leaveAt = performance.now() + LOGOUT_MS;
    while (performance.now() < leaveAt) {
      await console.readWithin(Math.max(1, leaveAt - performance.now()));
    }
  } catch {
    // The device closed the session, which is what was asked for.
  }
}
