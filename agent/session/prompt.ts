import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { DeviceError, plainText } from "../ssh/ssh_failure.ts";
import { type Console, SETTLE_MS, type Sighting } from "./console.ts";
import type { Screen } from "./screen.ts";

/** The very text that the device shows when it waits for a command in a mode, without blanks at its end. */
export interface Prompt {
  readonly mode: string;
  readonly text: string;
}

/** The mode whose prompt the unfinished last line matches. */
export function findPrompt(driver: Driver, tail: string): Prompt | undefined {
  for (const [mode, { prompt }] of Object.entries(driver.modes)) {
    if (new RegExp(prompt).test(tail)) return { mode, text: tail.trimEnd() };
  }
  return undefined;
}

/** Whether the device waits at this prompt: the last line is exactly it, and nothing follows. */
export function isAtPrompt(screen: Screen, prompt: Prompt): boolean {
  return screen.tail.trimEnd() === prompt.text;
}

/** A sighting of the learned prompt, to be believed after the settle time. */
export function seePrompt(screen: Screen, prompt: Prompt): Sighting<Prompt> | undefined {
  return isAtPrompt(screen, prompt) ? { seen: prompt, settleMs: SETTLE_MS } : undefined;
}

/** A device may print log messages into the echo, but not an endless number of them. */
const ECHO_LINES = 12;

/**
 * The index of the line that ends the echo of a command: the prompt and the command on one line, or, when a
 * log message came between, the command in two pieces or once more in full. Undefined while it is not there.
 */
export function findEcho(
  lines: readonly string[],
  { prompt, command }: { readonly prompt: Prompt; readonly command: string },
): number | undefined {
  const last = Math.min(lines.length, ECHO_LINES);
  let typed = "";
  for (let index = 0; index < last; index++) {
    const line = lines[index] ?? "";
    const isTyped = line.startsWith(prompt.text);
    const text = isTyped ? line.slice(prompt.text.length).trimStart() : line;
    if (text.trimEnd() === command || typed + text.trimEnd() === command) return index;
    if (isTyped && command.startsWith(text)) typed = text;
  }
  return undefined;
}

/**
 * Sends an empty line and waits until the device repeats its prompt, which proves that the last line was one.
 * Returns what it shows now: equal to what was believed, or else that was no prompt.
 */
export async function repeatPrompt(
  console: Console,
  driver: Driver,
): Promise<{ readonly prompt: Prompt; readonly printed: readonly string[] }> {
  const before = console.screen.lines.length;
  console.send(driver.newline);
  const prompt = await console.awaitSight((screen) => {
    if (screen.lines.length === before) return undefined;
    const found = findPrompt(driver, screen.tail);
    return found && { seen: found, settleMs: SETTLE_MS };
  });
  // The first of the new lines is the old prompt, which the empty line ended.
  return { prompt, printed: console.screen.lines.slice(before + 1) };
}

/** The error of a device that never came to a prompt, with what it showed last. */
export function noPrompt(screen: Screen): DeviceError {
  const last = screen.tail || (screen.lines.findLast((line) => line.trim() !== "") ?? "");
  return new DeviceError(
    "prompt_not_found",
    `The device never showed a prompt of its platform; its last line was "${plainText(last, 80)}"`,
  );
}
