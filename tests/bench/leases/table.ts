/** The results as a table of Markdown, so that it can stand in the README as it is. */
import type { Measured } from "./cells.ts";
import type { Result } from "./rounds.ts";

const HEAD = ["jobs/s (least, most)", "of pg-boss", "log, B/job", "p99, ms", "violations"];

/** A row for each queue in each cell; ratios are of medians, to the queue of that name. */
export function tableOf(results: readonly Result[], base: string): string {
  const rows = results.map((result, at) => {
    const peer = results.find(({ cell, queue }) => cell === result.cell && queue === base);
    const isFirst = results[at - 1]?.cell !== result.cell;
    const speed = medianOf(result, "perSecond");
    const ratio = peer ? speed / medianOf(peer, "perSecond") : NaN;
    const speeds = result.rounds.map(({ perSecond }) => perSecond);
    return [
      isFirst ? result.title : "",
      result.queue,
      `${whole(speed)} (${whole(Math.min(...speeds))}, ${whole(Math.max(...speeds))})`,
      Number.isNaN(ratio) ? "" : `${ratio.toFixed(2)}×`,
      whole(medianOf(result, "walBytesPerJob")),
      whole(medianOf(result, "p99Ms")),
      String(result.rounds.reduce((sum, { violations }) => sum + violations, 0)),
    ];
  });
  return markdown([["cell", "queue", ...HEAD], ...rows]);
}

/** What each of them promises. */
export function promisesOf(results: readonly Result[]): string {
  const names = new Map(results.map(({ queue, promises }) => [queue, promises]));
  return markdown([["queue", "promises"], ...names]);
}

/** The middle one of the rounds. */
export function medianOf({ rounds }: Result, figure: keyof Measured): number {
  const sorted = rounds.map((round) => round[figure]).toSorted((left, right) => left - right);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? NaN) + (sorted[Math.ceil(middle)] ?? NaN)) / 2;
}

function markdown(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, at) =>
    Math.max(...lines.map((line) => (line[at] ?? "").length))
  );
  const [head = "", ...body] = lines.map((line) =>
    `| ${line.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" | ")} |`
  );
  return [head, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...body].join("\n");
}

function whole(value: number): string {
  return Number.isFinite(value) ? Math.round(value).toLocaleString("en") : "";
}
