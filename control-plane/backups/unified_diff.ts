import type { Diff } from "@rookery/shared/api/backups.ts";

type Kind = Diff["hunks"][number]["lines"][number]["kind"];

const MARKS: Readonly<Record<Kind, string>> = { context: " ", removed: "-", added: "+" };

/** The names of the two texts, as the header gives them. */
export interface DiffNames {
  readonly before: string;
  readonly after: string;
}

/** A diff as text, as `diff -u` and `git` write it; empty when nothing changed. */
export function formatUnified(diff: Diff, names: DiffNames): string {
  if (diff.added + diff.removed === 0) return "";
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
