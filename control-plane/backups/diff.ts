import { structuredPatch } from "diff";
import type { Diff } from "@rookery/shared/api/backups.ts";
import { linesOf } from "@rookery/shared/drivers/decode.ts";

export interface DiffOptions {
  /** Equal lines around each change. */
  readonly context: number;
  /** How long the comparison may hold the event loop before it becomes a coarse one. Default 250. */
  readonly timeoutMs?: number;
  /** Lines in all hunks together. Default 20,000. */
  readonly maxLines?: number;
}

type Hunk = Diff["hunks"][number];
type Line = Hunk["lines"][number];

/**
 * Compares two texts line by line, in bounded time: a configuration made to be slow to compare gets one hunk
 * from its first to its last different line.
 */
export function diffTexts(before: string, after: string, options: DiffOptions): Diff {
  const old = linesOf(before);
  const now = linesOf(after);
  const exact = exactHunks(old, now, options);
  const hunks = exact ?? coarseHunks(old, now, options.context);
  const count = (kind: Line["kind"]) =>
    hunks.reduce((sum, { lines }) => sum + lines.filter((line) => line.kind === kind).length, 0);
  return {
    added: count("added"),
    removed: count("removed"),
    method: exact ? "exact" : "coarse",
    ...cut(hunks, options.maxLines ?? 20_000),
  };
}

function exactHunks(
  old: readonly string[],
  now: readonly string[],
  { context, timeoutMs = 250 }: DiffOptions,
): Hunk[] | undefined {
  const patch = structuredPatch("", "", joined(old), joined(now), "", "", {
    context,
    timeout: timeoutMs,
  });
  return patch?.hunks.map(({ oldStart, oldLines, newStart, newLines, lines }) => ({
    ...{ oldStart, oldLines, newStart, newLines },
    lines: numbered(lines, { oldStart, newStart }),
  }));
}

function joined(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}

const KINDS: Readonly<Record<string, Line["kind"]>> = {
  " ": "context",
  "-": "removed",
  "+": "added",
};

function numbered(
  marked: readonly string[],
  start: { readonly oldStart: number; readonly newStart: number },
): Line[] {
  let oldNumber = start.oldStart;
  let newNumber = start.newStart;
  return marked.flatMap((line) => {
    const kind = KINDS[line.slice(0, 1)];
    if (!kind) return [];
    return [{
      kind,
      text: line.slice(1),
      oldNumber: kind === "added" ? null : oldNumber++,
      newNumber: kind === "removed" ? null : newNumber++,
    }];
  });
}

/** Linear: what is equal at both ends is left out, all between is one hunk. */
function coarseHunks(old: readonly string[], now: readonly string[], context: number): Hunk[] {
  const shorter = Math.min(old.length, now.length);
  let head = 0;
  while (head < shorter && old[head] === now[head]) head++;
  let tail = 0;
  while (tail < shorter - head && old.at(-1 - tail) === now.at(-1 - tail)) tail++;
  const from = Math.max(0, head - context);
  const after = Math.min(tail, context);
  const marked = [
    ...old.slice(from, head).map((line) => ` ${line}`),
    ...old.slice(head, old.length - tail).map((line) => `-${line}`),
    ...now.slice(head, now.length - tail).map((line) => `+${line}`),
    ...old.slice(old.length - tail, old.length - tail + after).map((line) => ` ${line}`),
  ];
  const start = { oldStart: from + 1, newStart: from + 1 };
  const oldLines = old.length - tail + after - from;
  const newLines = now.length - tail + after - from;
  return [{ ...start, oldLines, newLines, lines: numbered(marked, start) }];
}

function cut(hunks: readonly Hunk[], maxLines: number): Pick<Diff, "hunks" | "truncated"> {
  const kept: Hunk[] = [];
  let left = maxLines;
  for (const hunk of hunks) {
    if (left === 0) return { hunks: kept, truncated: true };
    const lines = hunk.lines.slice(0, left);
    kept.push({ ...hunk, lines });
    left -= lines.length;
    if (lines.length < hunk.lines.length) return { hunks: kept, truncated: true };
  }
  return { hunks: kept, truncated: false };
}

const MARKS: Readonly<Record<Line["kind"], string>> = { context: " ", removed: "-", added: "+" };

/** The same as text, as `diff -u` and `git` write it; empty when nothing changed. */
export function formatUnified(
  diff: Diff,
  names: { readonly before: string; readonly after: string },
): string {
  if (diff.hunks.length === 0) return "";
  const lines = [`--- ${names.before}`, `+++ ${names.after}`];
  for (const hunk of diff.hunks) {
    lines.push(
      `@@ -${range(hunk.oldStart, hunk.oldLines)} +${range(hunk.newStart, hunk.newLines)} @@`,
    );
    for (const line of hunk.lines) lines.push(`${MARKS[line.kind]}${line.text}`);
  }
  if (diff.truncated) lines.push("# too many lines: the rest was left out");
  return `${lines.join("\n")}\n`;
}

function range(start: number, lines: number): string {
  // An empty side names the line before it (POSIX diff -u).
  return lines === 0 ? `${start - 1},0` : lines === 1 ? `${start}` : `${start},${lines}`;
}
