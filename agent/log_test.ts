import assert from "node:assert/strict";
import { fromLevel, jsonLog, type Log, textLog } from "./log.ts";

function linesOf(make: (write: (line: string) => void) => Log, use: (log: Log) => void): string[] {
  const lines: string[] = [];
  use(make((line) => lines.push(line)));
  return lines;
}

Deno.test("jsonLog() writes one object a line", () => {
  const [line = ""] = linesOf(jsonLog, (log) => log("warn", "claim_failed", { reason: "a\nb" }));
  const { at, ...rest } = JSON.parse(line);
  assert.deepEqual(rest, { level: "warn", event: "claim_failed", reason: "a\nb" });
  assert.ok(!Number.isNaN(Date.parse(at)));
  assert.ok(!line.includes("\n"));
});

Deno.test("textLog() writes one line for people, whatever stands in the fields", () => {
  const fields = { device: "core-1", reason: 'x\ny="1"', none: undefined, failures: 2 };
  const [line = ""] = linesOf(textLog, (log) => log("warn", "claim_failed", fields));
  assert.match(
    line,
    /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ warn {2}claim_failed device=core-1 reason="x\\ny=\\"1\\"" failures=2$/,
  );
});

Deno.test("fromLevel() lets that level and the ones above through", () => {
  const lines = linesOf(textLog, (log) => {
    const quiet = fromLevel("warn", log);
    quiet("info", "one");
    quiet("warn", "two");
    quiet("error", "three");
  });
  assert.deepEqual(lines.map((line) => line.split(" ").at(-1)), ["two", "three"]);
});
