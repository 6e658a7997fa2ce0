/** One table of what was aimed at and what was measured. */
export interface Row {
  readonly what: string;
  readonly unit: string;
  readonly measured: number;
  /** What it must not exceed, or, for a rate, must reach; absent: for information. */
  readonly aim?: { readonly atMost: number } | { readonly atLeast: number };
}

/** As Markdown, so that it can stand in the README as it is. */
export function tableOf(rows: readonly Row[]): string {
  const lines = rows.map(({ what, unit, measured, aim }) => {
    const bound = !aim ? undefined : "atMost" in aim ? aim.atMost : aim.atLeast;
    const sign = !aim ? "" : "atMost" in aim ? "≤ " : "≥ ";
    const ratio = bound === undefined ? "" : `${(measured / bound).toFixed(2)}×`;
    return [
      what,
      bound === undefined ? "" : `${sign}${number(bound)} ${unit}`,
      `${number(measured)} ${unit}`,
      ratio && `${ratio} ${isMet({ measured, aim }) ? "met" : "missed"}`,
    ];
  });
  const all = [["measured", "aim", "value", "of the aim"], ...lines];
  const widths = [0, 1, 2, 3].map((at) => Math.max(...all.map((line) => line[at]?.length ?? 0)));
  const [head = "", ...body] = all.map((line) =>
    `| ${line.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" | ")} |`
  );
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [head, rule, ...body].join("\n");
}

function isMet({ measured, aim }: { measured: number; aim: Row["aim"] }): boolean {
  if (!aim) return true;
  return "atMost" in aim ? measured <= aim.atMost : measured >= aim.atLeast;
}

function number(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return String(Number(value.toFixed(value >= 10 ? 1 : 2)));
}

/** The value below which a share of the numbers lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
