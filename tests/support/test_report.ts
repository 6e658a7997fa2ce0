/** The numbers of a test run, read from its JUnit report, and the block that `deno task test` ends with. */
import type { Skip } from "./skip.ts";
import { HOOKS_OF } from "./test_group.ts";

/** How many test cases (steps count with their test) ended in which way. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

const CASE = /<testcase name="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g;
const STEP_MARK = " &gt; ";

/** Counts the test cases of a JUnit report as `deno test` writes it; hooks only when they fail. */
export function countCases(junit: string): Counts {
  const count = { passed: 0, failed: 0, skipped: 0 };
  for (const suite of junit.split("<testsuite ").slice(1)) {
    const names = new Set<string>();
    for (const [, name = "", body = ""] of suite.matchAll(CASE)) {
      if (isStepOf(names, name)) continue;
      names.add(name);
      if (/<(?:failure|error)\b/.test(body)) count.failed++;
      else if (name.startsWith(HOOKS_OF)) continue;
      else if (/<skipped\b/.test(body)) count.skipped++;
      else count.passed++;
    }
  }
  return count;
}

/** Steps are listed after their test, named "test > step". */
function isStepOf(names: ReadonlySet<string>, name: string): boolean {
  for (let end = name.indexOf(STEP_MARK); end >= 0; end = name.indexOf(STEP_MARK, end + 1)) {
    if (names.has(name.slice(0, end))) return true;
  }
  return false;
}

/** Reads the lines that `skipUnless` wrote. */
export function readSkips(text: string): readonly Skip[] {
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** The final block: the counts alone on a line, then a line for each reason to skip. */
export function summarise(counts: Counts, skips: readonly Skip[]): string {
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
  const lines = [`${counts.passed} passed, ${counts.failed} failed${skipped}`];
  const reasons = Map.groupBy(skips, ({ why }) => why);
  for (const [why, { length }] of reasons) lines.push(`skipped ${length}: ${why}`);
  const unexplained = counts.skipped - skips.length;
  if (unexplained > 0) lines.push(`skipped ${unexplained}: no reason given`);
  return lines.join("\n");
}
