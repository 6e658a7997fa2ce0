import type { FailureCode } from "../jobs/failure.ts";
import { decodeText, linesOf } from "./decode.ts";
import type { Capture, Driver, Grade } from "./driver.ts";
import { PAGERS } from "./pagers.ts";
import { volatileLines } from "./normalise.ts";
import { checkBraces, checkXml } from "./structure.ts";

/** The verdict on one reading: complete to a grade, or the failure that it is. */
export type Completeness =
  | { readonly complete: true; readonly grade: Grade; readonly lines: number }
  | { readonly complete: false; readonly code: FailureCode; readonly detail: string };

/**
 * Decides whether the exact bytes of a capture are the whole configuration, by the driver's contract alone.
 * The grade `two-read` still needs the second reading, which the caller makes.
 */
export function judgeCompleteness(
  bytes: Uint8Array,
  { driver, capture }: { driver: Driver; capture: Capture },
): Completeness {
  // A NUL is looked for before the end: a binary text has no other property worth naming.
  if (bytes.includes(0)) return refuse("configuration_binary", "it contains NUL bytes");
  const text = decodeText(bytes).text;
  const lines = linesOf(text);
  if (lines.every((line) => line.trim() === "")) {
    return refuse("configuration_empty", "the device sent no text");
  }
  const failure = whyFailed(driver, lines) ?? whyDisturbed(driver, lines) ??
    whyTruncated(driver, capture, { text, lines }) ?? whyTooShort(capture, lines) ??
    whyPaged(driver, lines);
  return failure ?? { complete: true, grade: capture.end.grade, lines: lines.length };
}

type Refusal = Extract<Completeness, { complete: false }>;

function refuse(code: FailureCode, detail: string): Refusal {
  return { complete: false, code, detail };
}

interface Text {
  readonly text: string;
  readonly lines: readonly string[];
}

/** A device may say in the middle that a part is missing, and end in good order all the same. */
function whyFailed(driver: Driver, lines: readonly string[]): Refusal | undefined {
  const failures = driver.failures.filter(({ anywhere }) => anywhere)
    .map(({ pattern, code }) => ({ pattern: new RegExp(pattern), code }));
  for (const [index, line] of lines.entries()) {
    const found = failures.find(({ pattern }) => pattern.test(line));
    if (found) return refuse(found.code, `line ${index + 1} is a message of the device`);
  }
  return undefined;
}

/** A log message may have cut a line in two; where it came at the end, the end marker is not the last line. */
function whyDisturbed(driver: Driver, lines: readonly string[]): Refusal | undefined {
  const noise = driver.noise.map(({ line }) => new RegExp(line));
  const at = lines.findIndex((line) => noise.some((pattern) => pattern.test(line)));
  return at < 0
    ? undefined
    : refuse("configuration_interleaved", `line ${at + 1} holds a log message`);
}

function whyTruncated(
  driver: Driver,
  { end }: Capture,
  { text, lines }: Text,
): Refusal | undefined {
  if (end.grade === "marker") {
    const last = lines.findLast((line) => line.trim() !== "") ?? "";
    return new RegExp(end.line).test(last)
      ? undefined
      : refuse("configuration_truncated", "its last line is not the end marker");
  }
  if (end.grade !== "structure") return undefined;
  const isVolatile = volatileLines(driver);
  const structure = end.syntax === "xml"
    ? checkXml(text)
    : checkBraces(lines.filter((line) => !isVolatile(line)));
  return structure.closed ? undefined : refuse("configuration_truncated", structure.detail);
}

function whyTooShort({ begin, minimum }: Capture, lines: readonly string[]): Refusal | undefined {
  const has = (source: string) => {
    const pattern = new RegExp(source);
    return lines.some((line) => pattern.test(line));
  };
  const missing = [...begin === undefined ? [] : [begin], ...minimum.sections]
    .find((source) => !has(source));
  if (missing !== undefined) {
    return refuse("configuration_too_short", `no line matches ${missing}`);
  }
  return lines.length >= minimum.lines ? undefined : refuse(
    "configuration_too_short",
    `it has ${lines.length} lines, a complete one has at least ${minimum.lines}`,
  );
}

/** A pager's text that was left in the body means that lines may have been lost around it; exec has no pager. */
function whyPaged(driver: Driver, lines: readonly string[]): Refusal | undefined {
  if (driver.transport === "exec") return undefined;
  const pagers = [...driver.pagers, ...PAGERS.filter(({ inText }) => !inText)]
    .map(({ pattern }) => new RegExp(pattern));
  const at = lines.findIndex((line) => pagers.some((pager) => pager.test(line)));
  return at < 0 ? undefined : refuse("pager_stuck", `line ${at + 1} is the text of a pager`);
}
