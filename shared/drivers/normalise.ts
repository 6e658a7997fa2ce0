import { sha256 } from "../canonical_json.ts";
import type { Sha256 } from "../ids.ts";
import { decodeText, linesOf } from "./decode.ts";
import type { Capture, Driver } from "./driver.ts";

/** By whose rules a text is read: those of the platform, and where this capture of it begins. */
export interface NormaliseRules {
  readonly driver: Driver;
  readonly capture: Pick<Capture, "begin">;
}

/**
 * The text that decides "changed or not": from the first line that begins the capture, if there is one (what
 * comes before is the device talking), without the driver's volatile lines and blocks, with `\n` after every
 * line, without blanks at the ends of lines and without empty lines at the end of the text. A volatile block
 * that never ends drops nothing but its first line: a truncated text must not look unchanged.
 */
export function normalise(text: string, { driver, capture }: NormaliseRules): string {
  const isVolatile = volatileLines(driver);
  const blocks = volatileBlocks(driver);
  const lines = fromBegin(linesOf(text), capture);
  const kept: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? "";
    const block = blocks.find(({ from }) => from.test(line));
    if (block) at = endOfBlock(lines, { at, block });
    else if (!isVolatile(line)) kept.push(line.trimEnd());
  }
  while (kept.at(-1) === "") kept.pop();
  return kept.map((line) => `${line}\n`).join("");
}

/**
 * The text to bring a configuration back with: from the first line that begins the capture, nothing masked and nothing left
 * out, with `\n` after every line.
 */
export function restorableText(text: string, { begin }: Pick<Capture, "begin">): string {
  return fromBegin(linesOf(text), { begin }).map((line) => `${line}\n`).join("");
}

/** The digest of the normalised text of a configuration's exact bytes. */
export function normalisedSha256(bytes: Uint8Array, rules: NormaliseRules): Promise<Sha256> {
  return sha256(normalise(decodeText(bytes).text, rules));
}

function fromBegin(lines: string[], { begin }: Pick<Capture, "begin">): string[] {
  if (begin === undefined) return lines;
  const pattern = new RegExp(begin);
  const at = lines.findIndex((line) => pattern.test(line));
  return at > 0 ? lines.slice(at) : lines;
}

interface Block {
  readonly from: RegExp;
  readonly to: RegExp;
  /** Where the block's end was last looked for and not found: there is none after it either. */
  endless: boolean;
}

function endOfBlock(lines: readonly string[], { at, block }: { at: number; block: Block }): number {
  for (let index = at + 1; !block.endless && index < lines.length; index++) {
    if (block.to.test(lines[index] ?? "")) return index;
  }
  block.endless = true;
  return at;
}

function volatileBlocks(driver: Driver): Block[] {
  return driver.volatile.flatMap((entry) =>
    "from" in entry
      ? [{ from: new RegExp(entry.from), to: new RegExp(entry.to), endless: false }]
      : []
  );
}

/** Tells whether a line changes by itself, by the driver's patterns of single lines. */
export function volatileLines(driver: Driver): (line: string) => boolean {
  const patterns = driver.volatile.flatMap((entry) =>
    "line" in entry ? [new RegExp(entry.line)] : []
  );
  return (line) => patterns.some((pattern) => pattern.test(line));
}
