import type { Driver } from "@rookery/shared/drivers/driver.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import { linesOf } from "@rookery/shared/drivers/decode.ts";
import { plainText } from "../ssh/ssh_failure.ts";

/** What one command gave: the exact bytes, and why they are no answer if the device says so. */
export interface CommandOutput {
  /**
   * Over a shell: the lines after the echo and before the prompt, as the terminal shows them, pagers removed,
   * `\n` after each, in the device's own encoding. Over exec: the bytes of standard output as they came.
   */
  readonly bytes: Uint8Array;
  /** The prompt was there, and then more text came: what was read must be read again. */
  readonly interrupted: boolean;
  /** A pager was answered on the way, and its text was removed. */
  readonly paged: boolean;
  readonly failure?: CommandFailure;
}

/** How the device refused a command, in words that fit after a colon. */
export interface CommandFailure {
  readonly code: FailureCode;
  readonly detail: string;
}

export interface RunOptions {
  readonly maxBytes: number;
  /** Whether these bytes are all that is expected; if not, the prompt is believed only after a longer silence. */
  readonly isWhole: (bytes: Uint8Array) => boolean;
  /** The text has no end of its own: let the device repeat its prompt before it is believed. */
  readonly confirmPrompt: boolean;
}

/** Runs one command of the driver on the device; throws a `DeviceError` when the session is over. */
export type RunCommand = (command: string, options: RunOptions) => Promise<CommandOutput>;

/** Error texts stand at the beginning; further down the same words are somebody's description. */
const FIRST_LINES = 5;

/** The failure that the first lines with text name, by the driver's list. */
export function findFailure(driver: Driver, text: string): CommandFailure | undefined {
  const lines = linesOf(text.slice(0, 4_000)).filter((line) => line.trim() !== "");
  return failureIn(driver, lines.slice(0, FIRST_LINES));
}

/** The failure that any line names: of a text that is nothing but messages. */
export function findFailureInAny(driver: Driver, text: string): CommandFailure | undefined {
  return failureIn(driver, linesOf(text));
}

function failureIn(driver: Driver, lines: readonly string[]): CommandFailure | undefined {
  for (const line of lines) {
    const found = driver.failures.find(({ pattern }) => new RegExp(pattern).test(line));
    if (found) return { code: found.code, detail: `the device said "${plainText(line, 120)}"` };
  }
  return undefined;
}
