import type { Row } from "./round.ts";

const COLUMNS = [
  ["site", (row: Row) => row.site],
  ["device", (row: Row) => row.device],
  ["platform", (row: Row) => row.platform],
  ["outcome", (row: Row) => (row.asExpected ? row.outcome : `${row.outcome} (!)`)],
  ["grade", (row: Row) => row.grade],
  ["lines", (row: Row) => String(row.lines ?? "")],
  ["revision", (row: Row) => String(row.revision ?? "")],
  ["ms", (row: Row) => String(row.ms)],
  ["reason", (row: Row) => row.reason],
] as const;

const RIGHT = new Set(["lines", "revision", "ms"]);

/** The rows as a table of text, failures last. */
export function formatTable(rows: readonly Row[]): string {
  const sorted = rows.toSorted((left, right) =>
    Number(left.outcome === "failed") - Number(right.outcome === "failed") ||
    left.site.localeCompare(right.site) || left.device.localeCompare(right.device)
  );
  const cells = [
    COLUMNS.map(([name]) => name),
    ...sorted.map((row) => COLUMNS.map(([, cell]) => cell(row))),
  ];
  const widths = COLUMNS.map((_, at) => Math.max(...cells.map((line) => line[at]?.length ?? 0)));
  return cells.map((line) =>
    line.map((cell, at) => pad(cell, widths[at] ?? 0, RIGHT.has(COLUMNS[at]?.[0] ?? "")))
      .join("  ").trimEnd()
  ).join("\n");
}

function pad(text: string, width: number, right: boolean): string {
  return right ? text.padStart(width) : text.padEnd(width);
}
