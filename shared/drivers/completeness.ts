import type { FailureCode } from "../jobs/failure.ts";
import { decodeText, linesOf } from "./decode.ts";
import type { Capture, Driver, Grade } from "./driver.ts";
import { PAGERS } from "./pagers.ts";
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
  const failure = whyTruncated(capture, { text, lines }) ?? whyTooShort(capture, lines) ??
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

function whyTruncated({ end }: Capture, { text, lines }: Text): Refusal | undefined {
  if (end.grade === "marker") {
    const last = lines.findLast((line) => line.trim() !== "") ?? "";
    return new RegExp(end.line).test(last)
      ? undefined
      : refuse("configuration_truncated", "its last line is not the end marker");
  }
  if (end.grade !== "structure") return undefined;
  const structure = end.syntax === "xml" ? checkXml(text) : checkBraces(lines);
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

/** A pager's text that was left in the body means that lines may have been lost around it. */
function whyPaged(driver: Driver, lines: readonly string[]): Refusal | undefined {
  const pagers = [...driver.pagers, ...PAGERS].map(({ pattern }) => new RegExp(pattern));
  const at = lines.findIndex((line) => pagers.some((pager) => pager.test(line)));
  return at < 0 ? undefined : refuse("pager_stuck", `line ${at + 1} is the text of a pager`);
}
