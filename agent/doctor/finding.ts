/** What one check saw, and what to do about it where that is not well. */
export interface Finding {
  readonly check: string;
  readonly verdict: Verdict;
  readonly seen: string;
  readonly remedy?: string;
}

/** `skipped`: an earlier failure leaves nothing to look at. */
export type Verdict = "ok" | "warning" | "failed" | "skipped";

/** What all checks saw together. */
export interface Findings {
  readonly verdict: "ok" | "warning" | "failed";
  readonly findings: readonly Finding[];
}

/** What `doctor` ends with. */
export const EXIT_CODES = { ok: 0, warning: 1, failed: 2 } as const;

export function ok(check: string, seen: string): Finding {
  return { check, verdict: "ok", seen };
}

export function warning(check: string, seen: string, remedy: string): Finding {
  return { check, verdict: "warning", seen, remedy };
}

export function failed(check: string, seen: string, remedy: string): Finding {
  return { check, verdict: "failed", seen, remedy };
}

export function skipped(check: string, seen: string): Finding {
  return { check, verdict: "skipped", seen };
}

/** The worst of them is what counts. */
export function together(findings: readonly Finding[]): Findings {
  const has = (verdict: Verdict) => findings.some((finding) => finding.verdict === verdict);
  return { verdict: has("failed") ? "failed" : has("warning") ? "warning" : "ok", findings };
}

/** The findings for people: what was seen, and below it what to do. */
export function showFindings({ findings }: Findings): string {
  return findings.flatMap(({ check, verdict, seen, remedy }) => [
    `${verdict.padEnd(9)}${check.padEnd(15)}${seen}`,
    ...(remedy === undefined ? [] : [`${"".padEnd(24)}→ ${remedy}`]),
  ]).join("\n");
}

/** Milliseconds since `startedAt`, for people. */
export function took(startedAt: number): string {
  return `${Math.round(performance.now() - startedAt)} ms`;
}
