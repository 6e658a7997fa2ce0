/** The bench of queues runs to its end and counts the work; how fast, is of no interest on a machine that is busy. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { GroupWatch } from "./leases/group_watch.ts";
import { medianOf, tableOf } from "./leases/table.ts";

const PROGRAM = join(import.meta.dirname ?? ".", "leases_bench.ts");

async function bench(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", PROGRAM, ...args],
    env: { NO_COLOR: "1" },
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test("bench:leases --quick has every queue do its work, and leaves nothing", async () => {
  const [table = ""] = (await bench("--quick", "--cells=burn-down-1")).split("\n\n");
  const rows = table.split("\n").slice(2).map((line) => line.split("|").map((cell) => cell.trim()));
  assert.deepEqual(rows.map((row) => row[2]), [
    "Rookery",
    "pg-boss, fenced",
    "pg-boss, by default",
    "graphile-worker, local queue",
    "graphile-worker, by default",
  ]);
  for (const row of rows) assert.ok(Number.parseFloat(row[3] ?? "") > 0, table);
});

Deno.test("bench:leases --night has every device's job done in its minute", async () => {
  const text = await bench("--night", "--devices=200", "--minutes=1");
  assert.match(text, /^200 devices, 2 agents, 360 minutes, of which 1 were played$/m);
  assert.match(text, /^\| latest job \| [\d.]+ s after its minute \|$/m);
});

Deno.test("GroupWatch counts each claim that leaves a group over its limit", () => {
  const watch = new GroupWatch(2);
  watch.taken(["a", "a", "b"]);
  watch.ending(["a"]);
  watch.taken(["a"]);
  assert.equal(watch.violations, 0);
  watch.taken(["a", "b", "a"]);
  assert.equal(watch.violations, 1);
});

Deno.test("tableOf() compares medians with the queue that it is given", () => {
  const round = (perSecond: number) => ({
    perSecond,
    walBytesPerJob: 1,
    p99Ms: NaN,
    violations: 1,
  });
  const of = { cell: "c", title: "C", promises: "" };
  const ours = { ...of, queue: "ours", rounds: [10, 90, 30].map(round) };
  const theirs = { ...of, queue: "theirs", rounds: [10, 20].map(round) };
  assert.equal(medianOf(theirs, "perSecond"), 15);
  const [, , first = ""] = tableOf([ours, theirs], "theirs").split("\n");
  const cells = first.split("|").map((cell) => cell.trim());
  assert.deepEqual(cells.slice(1, -1), ["C", "ours", "30 (10, 90)", "2.00×", "1", "", "3"]);
});
