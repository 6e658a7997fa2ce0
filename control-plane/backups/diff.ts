import { structuredPatch } from "diff";
import type { Diff } from "@rookery/shared/api/backups.ts";
import { countLines, type DiffFrame, frameOf, linesIn, terminated } from "./diff_frame.ts";

export interface DiffOptions {
  /** Equal lines around each change. */
  readonly context: number;
  /** How long the comparison may take before it becomes a coarse one. Default 250. */
  readonly timeoutMs?: number;
  /** Lines in all hunks together. Default 20,000. */
  readonly maxLines?: number;
  /** Characters in all hunks together. Default 4,000,000. */
  readonly maxCharacters?: number;
}

type Hunk = Diff["hunks"][number];
type Line = Hunk["lines"][number];
type HunkStart = Pick<Hunk, "oldStart" | "oldLines" | "newStart" | "newLines">;

/** Beyond so many different lines the comparison is coarse from the start: splitting them alone takes too long. */
const EXACT_LINES = 2_000_000;

/**
 * Compares two texts line by line, in bounded time and to a bounded result: a configuration made to be slow to
 * compare gets one hunk from its first to its last different line.
 */
export function diffTexts(before: string, after: string, options: DiffOptions): Diff {
  const frame = frameOf(terminated(before), terminated(after), options.context);
  const { maxLines = 20_000, maxCharacters = 4_000_000 } = options;
  const room = { lines: maxLines, characters: maxCharacters };
  return exactDiff(frame, options, room) ?? coarseDiff(frame, room);
}

/** What still fits into the hunks. */
interface Room {
  lines: number;
  characters: number;
}

function exactDiff(
  frame: DiffFrame,
  { context, timeoutMs = 250 }: DiffOptions,
  room: Room,
): Diff | undefined {
  // Lines that were only added, or only removed, are the exact difference as they are.
  if (frame.removed === "" || frame.added === "") {
    return { ...coarseDiff(frame, room), method: "exact" };
  }
  if (countLines(frame.removed) + countLines(frame.added) > EXACT_LINES) return undefined;
  const [old, now] = [frame.removed, frame.added].map((middle) => frame.head + middle + frame.tail);
  const patch = structuredPatch("", "", old ?? "", now ?? "", "", "", {
    context,
    timeout: timeoutMs,
  });
  if (!patch) return undefined;
  const count = (mark: string) =>
    patch.hunks.reduce(
      (sum, { lines }) => sum + lines.filter((line) => line[0] === mark).length,
      0,
    );
  const above = frame.firstLine - 1;
  const hunks = patch.hunks.map(({ oldStart, newStart, ...hunk }) => ({
    ...hunk,
    ...{ oldStart: oldStart + above, newStart: newStart + above },
  }));
  return { added: count("+"), removed: count("-"), method: "exact", ...fill(hunks, room) };
}

/** Linear: what is equal at both ends is left out, all between is one hunk. */
function coarseDiff(frame: DiffFrame, room: Room): Diff {
  const [added, removed] = [countLines(frame.added), countLines(frame.removed)];
  const around = countLines(frame.head) + countLines(frame.tail);
  const hunk = {
    ...{ oldStart: frame.firstLine, oldLines: removed + around },
    ...{ newStart: frame.firstLine, newLines: added + around },
    lines: markedLines(frame),
  };
  return { added, removed, method: "coarse", ...fill(added + removed > 0 ? [hunk] : [], room) };
}

function* markedLines({ head, removed, added, tail }: DiffFrame): Generator<string> {
  const parts = [[" ", head], ["-", removed], ["+", added], [" ", tail]] as const;
  for (const [mark, part] of parts) {
    for (const line of linesIn(part)) yield `${mark}${line}`;
  }
}

/** Makes lines only as long as there is room: an object for each of millions would take seconds. */
function fill(
  hunks: readonly (HunkStart & { readonly lines: Iterable<string> })[],
  room: Room,
): Pick<Diff, "hunks" | "truncated"> {
  const filled: Hunk[] = [];
  for (const { oldStart, oldLines, newStart, newLines, lines: marked } of hunks) {
    const start = { oldStart, oldLines, newStart, newLines };
    const lines = numbered(marked, start, room);
    if (lines.length > 0) filled.push({ ...start, lines });
    if (room.lines < 0) return { hunks: filled, truncated: true };
  }
  return { hunks: filled, truncated: false };
}

const KINDS: Readonly<Record<string, Line["kind"]>> = {
  " ": "context",
  "-": "removed",
  "+": "added",
};

/** The marked lines that there is room for; after the first that does not fit there is none any more. */
function numbered(marked: Iterable<string>, start: HunkStart, room: Room): Line[] {
  const lines: Line[] = [];
  let { oldStart: oldNumber, newStart: newNumber } = start;
  for (const line of marked) {
    const kind = KINDS[line.slice(0, 1)];
    if (!kind) continue;
    room.lines--;
    room.characters -= line.length;
    if (room.characters < 0) room.lines = -1;
    if (room.lines < 0) break;
    lines.push({
      kind,
      text: line.slice(1),
      oldNumber: kind === "added" ? null : oldNumber++,
      newNumber: kind === "removed" ? null : newNumber++,
    });
  }
  return lines;
}
