import { z } from "zod";
import { BROKEN_TEXT, isWhole } from "./page.ts";

const MOST_CHARACTERS = 500;

/** One line or less of what is looked for: blanks count, and no line of a configuration has control characters but tabs. */
const Sought = z.string().min(1).max(MOST_CHARACTERS).regex(
  // deno-lint-ignore no-control-regex -- refusing them is what it is for
  /^[^\u0000-\u0008\u000a-\u001f\u007f]*$/,
  "must not contain line breaks or other control characters",
).refine(isWhole, BROKEN_TEXT);

/** Characters as they stand in a line. */
export const SearchText = Sought.meta({ example: "ip helper-address 192.0.2.1" });

/**
 * A regular expression of PostgreSQL's advanced kind, for one line at a time. What makes matching slower than linear, or
 * changes how the rest is read, is refused with its position: back-references, look-around, embedded options.
 */
export const SearchPattern = Sought.superRefine((pattern, context) => {
  const refused = refusedPart(pattern);
  if (refused === undefined) return;
  const { what, position } = refused;
  context.addIssue({ code: "custom", message: `${what} at character ${position} is not taken` });
}).meta({ example: "^snmp-server host 192\\.0\\.2\\.[0-9]+" });

interface RefusedPart {
  readonly what: string;
  /** From 1. */
  readonly position: number;
}

const DIRECTOR: readonly [RegExp, string] = [/\*\*\*/y, "a director (***)"];

const REFUSED: readonly (readonly [RegExp, string])[] = [
  [/\\[1-9]/y, "a back-reference"],
  [/\\k/y, "a back-reference"],
  [/\(\?=|\(\?!/y, "look-ahead"],
  [/\(\?<=|\(\?<!/y, "look-behind"],
  [/\(\?(?!:)/y, "an embedded option or a named group"],
];

/** An escape, a bracket expression (in which `]` may stand first, and classes such as `[:digit:]`), or one character. */
const PIECE = /\\.?|\[\^?\]?(?:\[:\w*:\]|\[\..*?\.\]|\[=.*?=\]|\\.|[^\]\\])*\]?|./suy;

/** A repetition with counts: `{3}`, `{3,}`, `{3,9}`. */
const COUNTS = /\{(\d+)(?:,(\d*))?\}/y;

/** States that PostgreSQL needs, more or less: repetitions within each other multiply, and it makes them all beforehand. */
const MOST_STATES = 10_000;

/** The first part of a pattern that is not taken, in time linear to its length; undefined when there is none. */
function refusedPart(pattern: string): RefusedPart | undefined {
  const outer: number[] = [];
  let states = 0;
  let last = 0;
  for (let at = 0; at < pattern.length;) {
    const rules = at === 0 ? [DIRECTOR, ...REFUSED] : REFUSED;
    const rule = rules.find(([part]) => endOf(part, pattern, at) > at);
    if (rule) return { what: rule[1], position: at + 1 };
    const times = repetitionsAt(pattern, at);
    if (times !== undefined) {
      states += last * (times - 1);
      if (states > MOST_STATES) return { what: "so much repetition", position: at + 1 };
    } else if (pattern[at] === "(") {
      outer.push(states);
      states = 0;
    } else if (pattern[at] === ")") {
      last = states;
      states += outer.pop() ?? 0;
    } else {
      last = 1;
      states += 1;
    }
    at = endOf(times === undefined ? PIECE : COUNTS, pattern, at);
  }
  return undefined;
}

/** How often at most what stands before is repeated; undefined when no counts stand here. */
function repetitionsAt(pattern: string, at: number): number | undefined {
  COUNTS.lastIndex = at;
  const counts = COUNTS.exec(pattern);
  return counts ? Math.max(1, Number(counts[1]), Number(counts[2] ?? 0)) : undefined;
}

/** Where a match that begins at `at` ends; `at` itself when there is none. */
function endOf(part: RegExp, pattern: string, at: number): number {
  part.lastIndex = at;
  return part.test(pattern) ? part.lastIndex : at;
}
