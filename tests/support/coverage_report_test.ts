import assert from "node:assert/strict";
import { readLcov, summariseCoverage } from "./coverage_report.ts";

function record(path: string, [lines, covered]: readonly [number, number]): string {
  return `SF:/tree/${path}\nBRF:4\nBRH:1\nLH:${covered}\nLF:${lines}\nend_of_record\n`;
}

Deno.test("readLcov() reads what is of the tree", () => {
  const text = record("agent/run.ts", [10, 9]) +
    record("../other/x.ts", [1, 1]).replace("/tree/../", "/");
  assert.deepEqual(readLcov(text, "/tree"), [
    { path: "agent/run.ts", lines: { found: 10, hit: 9 }, branches: { found: 4, hit: 1 } },
  ]);
});

Deno.test("summariseCoverage() adds up folders and names those below the floor", () => {
  const text = record("agent/run.ts", [100, 90]) + record("control-plane/jobs/a.ts", [100, 84]) +
    record("control-plane/app.ts", [100, 86]) + record("shared/ids.ts", [1_000, 849]);
  const { table, below } = summariseCoverage(readLcov(text, "/tree"));
  assert.deepEqual(below, ["shared"]);
  assert.match(table, /^control-plane +85\.0 % +25\.0 %$/m);
  assert.match(table, /^control-plane\/jobs +84\.0 % +25\.0 %$/m);
});
