/** The bench of queues runs to its end and counts the work; how fast, is of no interest on a machine that is busy. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { GroupWatch } from "./leases/group_watch.ts";
import { medianOf, tableOf } from "./leases/table.ts";

Deno.test("bench:leases --quick has every queue do its work, and leaves nothing", async () => {
  const program = join(import.meta.dirname ?? ".", "leases_bench.ts");
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", program, "--quick", "--cells=burn-down-1"],
    env: { NO_COLOR: "1" },
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  const [table = ""] = new TextDecoder().decode(stdout).split("\n\n");
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
