import { decodeText } from "@rookery/shared/drivers/decode.ts";
import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { findFailure, type RunCommand } from "./command.ts";
import type { Console, Sighting } from "./console.ts";
import { compilePagers, type PagerAnswer, pagerTurner, seePager } from "./pager.ts";
import { findEcho, type Prompt, repeatPrompt, seePrompt } from "./prompt.ts";
import { bytesOf, type Screen } from "./screen.ts";

/** How long a prompt must stand under a text that is not whole before it is believed to be one. */
const PATIENCE_MS = 1_500;

export interface ShellPlace {
  readonly console: Console;
  readonly driver: Driver;
  readonly prompt: Prompt;
}

/** Runs commands in a shell that waits at its prompt. */
export function shellRunner(place: ShellPlace): RunCommand {
  return async (command, { maxBytes, isWhole, confirmPrompt }) => {
    const { console, driver } = place;
    console.startAccount(maxBytes);
    console.send(command + driver.newline);
    const echo = echoFinder(place, command);
    const awaitPrompt = promptWaiter(place, echo);
    let interrupted = false;
    let paged = false;
    while (true) {
      paged = await awaitPrompt() || paged;
      const bytes = bytesOf(console.screen.lines.slice(echo(console.screen) ?? 0));
      const failure = findFailure(driver, decodeText(bytes.subarray(0, 4_000)).text);
      if (failure) return { bytes, interrupted, paged, failure };
      const isLast = isWhole(bytes)
        ? !confirmPrompt || await isRepeated(place)
        : !await console.readWithin(Math.min(PATIENCE_MS, console.idleMs));
      if (isLast) return { bytes, interrupted, paged };
      interrupted = true;
    }
  };
}

/** Whether an empty line brings the prompt again and nothing else: no text was still to come. */
async function isRepeated({ console, driver, prompt }: ShellPlace): Promise<boolean> {
  const repeated = await repeatPrompt(console, driver);
  return repeated.prompt.text === prompt.text && repeated.printed.length === 0;
}

/** Tells where the text begins: the index of the line after the echo, undefined while there is none. */
function echoFinder(
  { driver, prompt }: ShellPlace,
  command: string,
): (screen: Screen) => number | undefined {
  let begin: number | undefined;
  return ({ lines }) => {
    if (begin !== undefined || lines.length === 0) return begin;
    const echo = findEcho(lines, { prompt, command });
    if (echo !== undefined) begin = echo + 1;
    // Such a device repeats what was typed in its own way, but always on the line of its prompt.
    else if (driver.echo === "relaxed") begin = lines[0]?.startsWith(prompt.text) ? 1 : 0;
    return begin;
  };
}

/** Reads on until the device is at its prompt after the echo; tells whether it answered a pager on the way. */
function promptWaiter(
  { console, driver, prompt }: ShellPlace,
  echo: (screen: Screen) => number | undefined,
): () => Promise<boolean> {
  const pagers = compilePagers(driver);
  const turnPager = pagerTurner(console);
  const look = (screen: Screen): Sighting<Prompt | PagerAnswer> | undefined => {
    if (echo(screen) === undefined) return undefined;
    return seePrompt(screen, prompt) ?? seePager(pagers, screen.tail);
  };
  return async () => {
    for (let paged = false;; paged = true) {
      const seen = await console.awaitSight(look);
      if ("mode" in seen) return paged;
      turnPager(seen);
    }
  };
}
