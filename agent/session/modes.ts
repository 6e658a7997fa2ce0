import type { Driver } from "@rookery/shared/drivers/driver.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import { DeviceError } from "../ssh/ssh_failure.ts";
import { type Console, SETTLE_MS } from "./console.ts";
import { findEcho, findPrompt, isAtPrompt, type Prompt } from "./prompt.ts";
import type { Screen } from "./screen.ts";

type Entry = Driver["modes"][string]["entries"][number];

/** The secrets that a driver may name at a question; each is typed there and nowhere else. */
export interface Secrets {
  readonly username: string;
  readonly password?: string | undefined;
  readonly enableSecret?: string | undefined;
}

/** One line to send on the way to a mode. */
interface Step {
  readonly mode: string;
  readonly entry: Entry;
}

/** Walks from the prompt the device is at to a mode of its driver, and returns the prompt there. */
export async function enterMode(
  console: Console,
  { driver, mode, prompt, secrets }: {
    readonly driver: Driver;
    readonly mode: string;
    readonly prompt: Prompt;
    readonly secrets: Secrets;
  },
): Promise<Prompt> {
  let at = prompt;
  for (const step of findWay(driver, { from: prompt.mode, to: mode })) {
    at = await takeStep(console, { driver, step, prompt: at, secrets });
  }
  return at;
}

/** The shortest way between two modes, breadth first. */
export function findWay(
  driver: Driver,
  { from, to }: { readonly from: string; readonly to: string },
): readonly Step[] {
  const ways = new Map<string, readonly Step[]>([[from, []]]);
  for (const [place, way] of ways) {
    if (place === to) return way;
    for (const [mode, { entries }] of Object.entries(driver.modes)) {
      const entry = entries.find((candidate) => candidate.from === place);
      // A Map walks on into what is added to it while it is walked.
      if (entry && !ways.has(mode)) ways.set(mode, [...way, { mode, entry }]);
    }
  }
  throw new DeviceError(
    "mode_not_reached",
    `The driver knows no way from mode "${from}" to mode "${to}"`,
  );
}

async function takeStep(
  console: Console,
  { driver, step, prompt, secrets }: {
    readonly driver: Driver;
    readonly step: Step;
    readonly prompt: Prompt;
    readonly secrets: Secrets;
  },
): Promise<Prompt> {
  const { mode, entry } = step;
  const question = entry.question === undefined ? undefined : new RegExp(entry.question);
  const isEchoed = ({ lines }: Screen) =>
    driver.echo === "relaxed" || findEcho(lines, { prompt, command: entry.send }) !== undefined;
  console.startAccount(MAX_ANSWER_BYTES);
  console.send(entry.send + driver.newline);
  for (let answered = false;; answered = true) {
    const lines = console.screen.lines.length;
    const seen = await console.awaitSight<Prompt | "question">((screen) => {
      // Before the echo, and before the answered line has ended, the last line is still the old one.
      if (screen.lines.length === lines || !isEchoed(screen)) return undefined;
      if (question?.test(screen.tail)) return { seen: "question", settleMs: SETTLE_MS };
      const found = findPrompt(driver, screen.tail);
      return found && { seen: found, settleMs: SETTLE_MS };
    });
    if (seen !== "question") {
      if (seen.mode === mode) return seen;
      throw notReached({ mode, answered, stayed: isAtPrompt(console.screen, prompt) });
    }
    if (answered) throw notReached({ mode, answered, stayed: true });
    console.send(secretFor(entry, secrets) + driver.newline);
  }
}

/** What a device says on the way to a mode is a line or two. */
const MAX_ANSWER_BYTES = 64 * 1_024;

function notReached(
  { mode, answered, stayed }: { mode: string; answered: boolean; stayed: boolean },
): DeviceError {
  return answered && stayed
    ? new DeviceError("enable_rejected", `The device refused the secret of mode "${mode}"`)
    : new DeviceError("mode_not_reached", `The device did not enter mode "${mode}"`);
}

/** What a credential lacks when a question names it. */
const MISSING = {
  enableSecret: "enable_secret_missing",
  password: "credential_missing",
  username: "credential_missing",
} as const satisfies Record<NonNullable<Entry["answer"]>, FailureCode>;

function secretFor(entry: Entry, secrets: Secrets): string {
  if (entry.answer === undefined) return "";
  const secret = secrets[entry.answer];
  if (secret === undefined) throw new DeviceError(MISSING[entry.answer]);
  // A secret with a line feed would be typed as two lines, the second one as a command.
  if (/[\r\n\0]/.test(secret)) {
    throw new DeviceError("credential_unusable", `The ${entry.answer} is more than one line`);
  }
  return secret;
}
