/** How an unknown device is asked what it is, and what is made of its answers. */
import type { Evidence } from "../jobs/detect_platform.ts";
import { linesOf } from "./decode.ts";
import { type Clue, type Driver, driver } from "./driver.ts";
import { isPlainRead } from "./read_only.ts";

/** Speaks to a device of which nothing is known: any prompt will do, and nothing but commands that read is sent. */
export const PROBE_DRIVER: Driver = driver({
  platform: "probe",
  label: "A device of which nothing is known",
  evidence: { kind: "unverified" },
  transport: "shell",
  // Some complete or repeat what is typed.
  echo: "relaxed",
  // Not a colon, behind which a device may ask for a password.
  modes: { any: { prompt: /^\S.{0,100}[>#$%\]]\s?$/ } },
  captureMode: "any",
  captures: [{
    name: "probe",
    commands: ["show version"],
    end: { grade: "prompt" },
    minimum: { lines: 1 },
  }],
  restore: "Nothing is read that could be restored.",
});

/** The commands with which these drivers recognise their platforms, each once, those of most drivers first. */
export function probesOf(drivers: Iterable<Driver>): readonly string[] {
  const asked = [...drivers].flatMap(({ clues }) =>
    clues.flatMap((clue) => "command" in clue && isPlainRead(clue.command) ? [clue.command] : [])
  );
  const counts = Map.groupBy(asked, (command) => command);
  return [...counts].sort(([, one], [, other]) => other.length - one.length)
    .map(([command]) => command);
}

/** A platform that a device may be of; the surest first. */
export interface PlatformGuess {
  readonly platform: string;
  readonly sure: "certain" | "likely" | "possible";
  readonly why: string;
}

const SURENESS = ["certain", "likely", "possible"] as const;

/** What the evidence says, by the clues of these drivers. */
export function guessPlatforms(evidence: Evidence, drivers: Iterable<Driver>): PlatformGuess[] {
  const guesses = [...drivers].flatMap(({ platform, clues }) => {
    const fitting = clues.filter((clue) => fits(clue, evidence))
      .sort((one, other) => SURENESS.indexOf(one.sure) - SURENESS.indexOf(other.sure));
    const [best] = fitting;
    return best ? [{ platform, sure: best.sure, why: best.why }] : [];
  });
  return guesses.sort((one, other) =>
    SURENESS.indexOf(one.sure) - SURENESS.indexOf(other.sure) ||
    (one.platform < other.platform ? -1 : 1)
  );
}

function fits(clue: Clue, { ident, answers }: Evidence): boolean {
  if ("ident" in clue) return new RegExp(clue.ident).test(ident);
  const line = new RegExp(clue.line);
  return answers.some(({ command, text }) =>
    command === clue.command && linesOf(text).some((each) => line.test(each.slice(0, 500)))
  );
}
