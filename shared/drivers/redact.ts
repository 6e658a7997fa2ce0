import { linesOf } from "./decode.ts";
import type { Driver } from "./driver.ts";

export interface RedactOptions {
  /**
   * A short tag under a key of the device, so that a diff shows that a secret changed and never what it is. Null: no
   * secret is tagged, for texts of two devices, whose tags say nothing of each other.
   */
  readonly tagOf: ((secret: string) => Promise<string> | string) | null;
}

/** Where a secret stands in the text, and whether the device writes it differently each time. */
interface Span {
  readonly start: number;
  readonly end: number;
  readonly resalted: boolean;
}

/**
 * The text, with `\n` after every line, and every secret as `<secret:tag>`, or `<secret>` where the device
 * re-salts it or nothing is to be tagged. The driver's rules and the rules of every platform look at the original text; overlapping finds become one. Blocks lose the
 * lines between their first and last; a block that never ends is secret to the end of the text.
 */
export async function redact(
  driver: Driver,
  original: string,
  { tagOf }: RedactOptions,
): Promise<string> {
  const text = linesOf(original).map((line) => `${line}\n`).join("");
  const pieces: string[] = [];
  let at = 0;
  for (
    const { start, end, resalted } of merge([
      ...blockSpans(driver, text),
      ...lineSpans(driver, text),
    ])
  ) {
    const tag = resalted ? undefined : await tagOf?.(text.slice(start, end));
    pieces.push(text.slice(at, start), tag === undefined ? "<secret>" : `<secret:${tag}>`);
    at = end;
  }
  pieces.push(text.slice(at));
  return pieces.join("");
}

/** Raise it with every change of what this file takes for a secret: stored texts are then redacted anew. */
export const REDACTOR_VERSION = 1;

/** Secrets that look the same on every platform, whatever the driver knows of. */
export const EVERYWHERE: readonly string[] = [
  // crypt(3) hashes and the reversible ones of Junos ($9$) and IOS XE ($8$, $9$, $14$).
  String.raw`(?<secret>\$(?:1|2[abxy]|5|6|7|8|9|14|y|gy|sha1|argon2id?)\$[^\s"';,<>]+)`,
  // The password of a URL; it may itself contain an @ or a slash. A port with a path behind it is none.
  String.raw`:\/\/[^\s\/:@"'<>]*:(?!\d+\/)(?<secret>[^\s"'<>]{1,500})@`,
  // Parameters of URLs and of commands.
  String.raw`[?&](?i:password|passwd|pwd|secret|token|api[_\-]?key)=(?<secret>[^\s&"'<>]+)`,
];

const PRIVATE_BLOCKS =
  /-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|-----BEGIN OpenVPN Static key V1-----/g;

function lineSpans(driver: Driver, text: string): Span[] {
  const rules = [
    ...driver.secrets.flatMap((entry) => "line" in entry ? [entry] : []),
    ...EVERYWHERE.map((line) => ({ line, resalted: false })),
  ].map(({ line, resalted }) => ({
    // Most lines hold no secret, and a bare test is many times quicker than asking for all matches.
    probe: new RegExp(line),
    pattern: new RegExp(line, "dg"),
    resalted,
  }));
  const spans: Span[] = [];
  for (const { line, start } of linesWithStart(text)) {
    for (const { probe, pattern, resalted } of rules) {
      if (!probe.test(line)) continue;
      for (const match of line.matchAll(pattern)) {
        const range = match.indices?.groups?.secret;
        if (range && range[1] > range[0]) {
          spans.push({ start: start + range[0], end: start + range[1], resalted });
        }
      }
    }
  }
  return spans;
}

function blockSpans(driver: Driver, text: string): Span[] {
  const spans = [...privateKeySpans(text)];
  for (const entry of driver.secrets) {
    if ("from" in entry) spans.push(...driverBlockSpans(text, entry));
  }
  return spans;
}

/** Also finds a key that stands on one line, as JSON and some firmware write it. */
function* privateKeySpans(text: string): Generator<Span> {
  let covered = 0;
  for (const match of text.matchAll(PRIVATE_BLOCKS)) {
    const start = match.index + match[0].length;
    if (start <= covered) continue;
    const close = text.indexOf("-----END", start);
    covered = close < 0 ? text.length : close;
    const body = text.slice(start, covered);
    yield {
      start: start + (body.length - body.trimStart().length),
      end: start + body.trimEnd().length,
      resalted: false,
    };
  }
}

function* driverBlockSpans(
  text: string,
  { from, to }: { from: string; to: string },
): Generator<Span> {
  const first = new RegExp(from);
  const last = new RegExp(to);
  let start: number | undefined;
  for (const { line, start: lineStart, next } of linesWithStart(text)) {
    if (start === undefined) {
      if (first.test(line)) start = next;
    } else if (last.test(line)) {
      yield { start, end: Math.max(start, lineStart - 1), resalted: false };
      start = undefined;
    }
  }
  if (start !== undefined) yield { start, end: text.length, resalted: false };
}

interface PlacedLine {
  readonly line: string;
  readonly start: number;
  readonly next: number;
}

/** Every line of a text in which each ends with `\n`. */
function* linesWithStart(text: string): Generator<PlacedLine> {
  let start = 0;
  while (start < text.length) {
    const end = text.indexOf("\n", start);
    yield { line: text.slice(start, end), start, next: end + 1 };
    start = end + 1;
  }
}

/** Sorted, not empty, and no two overlapping or touching. */
function merge(spans: readonly Span[]): Span[] {
  const merged: Span[] = [];
  const sorted = spans.filter(({ start, end }) => end > start)
    .toSorted((left, right) => left.start - right.start);
  for (const span of sorted) {
    const before = merged.at(-1);
    if (before && span.start < before.end) {
      merged[merged.length - 1] = {
        start: before.start,
        end: Math.max(before.end, span.end),
        resalted: before.resalted || span.resalted,
      };
    } else merged.push(span);
  }
  return merged;
}
