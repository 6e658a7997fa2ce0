import { linesOf } from "@rookery/shared/drivers/decode.ts";
import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { PASSWORD_EXPIRED } from "@rookery/shared/drivers/questions.ts";
import { DeviceError, plainText } from "../ssh/ssh_failure.ts";
import { type Console, SETTLE_MS, type Sighting } from "./console.ts";
import { compilePagers, type PagerAnswer, seePager } from "./pager.ts";
import { findPrompt, noPrompt, type Prompt, repeatPrompt } from "./prompt.ts";
import type { Screen } from "./screen.ts";

/** A silent device is asked for its prompt after this long, by an empty line, a few times. */
const NUDGE_MS = 3_000;
const NUDGES = 3;
/** More questions than this before the first prompt are a loop. */
const MAX_ANSWERS = 10;
/** What sounds like a refusal may be a notice before the prompt, which then comes within this time. */
const REFUSAL_SETTLE_MS = 1_000;

type Refusal = "password_expired" | "device_busy";
type Seen = Prompt | PagerAnswer | { readonly refusal: Refusal };

const EXPIRED = PASSWORD_EXPIRED.map((source) => new RegExp(source));

/** Whether a text asks for a new password or says that one is due. */
export function asksForNewPassword(text: string): boolean {
  return linesOf(text).some((line) => EXPIRED.some((pattern) => pattern.test(line)));
}

/**
 * Answers what the device asks before its first prompt with the harmless answers of its driver, and learns
 * the prompt: the last line that the device repeats, letter for letter, after an empty line. Nothing is typed
 * into a line that is not known; in particular no password.
 */
export async function learnPrompt(console: Console, driver: Driver): Promise<Prompt> {
  let candidate = await awaitPrompt(console, driver);
  for (let tries = 0; tries < 3; tries++) {
    const { prompt } = await repeatPrompt(console, driver);
    if (prompt.text === candidate.text) return prompt;
    // A line of the greeting looked like a prompt; what came after the empty line is a better candidate.
    candidate = prompt;
  }
  throw noPrompt(console.screen);
}

async function awaitPrompt(console: Console, driver: Driver): Promise<Prompt> {
  const greeting = greetingReader(driver);
  const pauseMs = Math.min(NUDGE_MS, console.idleMs / (NUDGES + 1));
  let nudges = 0;
  for (let answers = 0; answers <= MAX_ANSWERS;) {
    const mayNudge = nudges < NUDGES;
    const idleMs = mayNudge ? pauseMs : console.idleMs - NUDGES * pauseMs;
    const seen = await readGreeting(console, greeting, idleMs);
    if (seen === undefined) {
      if (!mayNudge) throw silent(console);
      nudges++;
      // An unknown question may stand there, and an empty line may be an answer to it.
      if (console.screen.tail.trim() === "") console.send(driver.newline);
    } else if ("mode" in seen) return seen;
    else if ("refusal" in seen) throw refused(console.screen, seen.refusal);
    else {
      answers++;
      // The answered line is erased here, so that it is never answered twice.
      console.screen.erasePager();
      console.send(seen.answer);
    }
  }
  throw noPrompt(console.screen);
}

async function readGreeting(
  console: Console,
  { look, refusal }: Greeting,
  idleMs: number,
): Promise<Seen | undefined> {
  try {
    return await console.readUntil(look, { idleMs });
  } catch (error) {
    // Devices without a free line say so and hang up: what they said is the better reason.
    const said = refusal();
    if (said && error instanceof DeviceError && error.code === "connection_lost") {
      return { refusal: said };
    }
    throw error;
  }
}

interface Greeting {
  readonly look: (screen: Screen) => Sighting<Seen> | undefined;
  /** What the greeting said so far against letting anybody in. */
  readonly refusal: () => Refusal | undefined;
}

function greetingReader(driver: Driver): Greeting {
  const busy = driver.failures.filter(({ code }) => code === "device_busy")
    .map(({ pattern }) => new RegExp(pattern));
  const dialogues = driver.dialogues.map(({ pattern, answer }) => ({
    pattern: new RegExp(pattern),
    answer,
  }));
  const pagers = compilePagers(driver);
  let looked = 0;
  let refusal: Refusal | undefined;
  function judge(line: string): void {
    if (EXPIRED.some((pattern) => pattern.test(line))) refusal ??= "password_expired";
    if (busy.some((pattern) => pattern.test(line))) refusal ??= "device_busy";
  }
  function look({ lines, tail }: Screen): Sighting<Seen> | undefined {
    for (; looked < lines.length; looked++) judge(lines[looked] ?? "");
    judge(tail);
    const prompt = findPrompt(driver, tail);
    // A greeting may warn of a password that expires; only without a prompt it is a refusal.
    if (prompt) return { seen: prompt, settleMs: SETTLE_MS };
    const question = dialogues.find(({ pattern }) => pattern.test(tail));
    if (question) return { seen: { answer: question.answer }, settleMs: SETTLE_MS };
    if (refusal) return { seen: { refusal }, settleMs: REFUSAL_SETTLE_MS };
    return seePager(pagers, tail);
  }
  return { look, refusal: () => refusal };
}

function refused(screen: Screen, refusal: Refusal): DeviceError {
  if (refusal === "password_expired") return new DeviceError(refusal);
  const last = screen.tail || (screen.lines.findLast((line) => line.trim() !== "") ?? "");
  return new DeviceError(refusal, `The device has no free session: "${plainText(last, 80)}"`);
}

function silent(console: Console): DeviceError {
  return console.hasReceived ? noPrompt(console.screen) : new DeviceError(
    "idle_timed_out",
    `The device opened a shell and then sent nothing for ${console.idleMs / 1_000} s`,
  );
}
