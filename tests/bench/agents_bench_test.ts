/** The bench of agents runs to its end and measures something; what, is of no interest on a machine that is busy. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { quantile, tableOf } from "./agents/table.ts";

Deno.test("bench:agents --quick measures every row, and leaves nothing", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", join(import.meta.dirname ?? ".", "agents_bench.ts"), "--quick"],
    env: { NO_COLOR: "1" },
  }).output();
  const said = new TextDecoder().decode(stderr);
  assert.equal(code, 0, said);
  const [table = ""] = new TextDecoder().decode(stdout).split("\n\n");
  const values = table.trim().split("\n").slice(2)
    .map((line) => Number.parseFloat(line.split("|")[3]?.replaceAll(",", "") ?? ""));
  assert.ok(values.length >= 20, table);
  assert.ok(values.every((value) => value >= 0), table);
  const jobs = /agents at work: jobs +\| ≥ 1,000 \/s +\| ([\d.]+) /.exec(table)?.[1];
  assert.ok(Number(jobs) > 0, table);
});

Deno.test("tableOf() says of each aim how near it is, and whether it is met", () => {
  const table = tableOf([
    { what: "memory", unit: "MB", measured: 350, aim: { atMost: 700 } },
    { what: "jobs", unit: "/s", measured: 250, aim: { atLeast: 1_000 } },
    { what: "connections", unit: "", measured: 41.5 },
  ]);
  const cells = table.split("\n").slice(2).map((line) => line.split("|").map((c) => c.trim()));
  assert.deepEqual(cells.map((line) => line.slice(1, 5)), [
    ["memory", "≤ 700 MB", "350 MB", "0.50× met"],
    ["jobs", "≥ 1,000 /s", "250 /s", "0.25× missed"],
    ["connections", "", "41.5", ""],
  ]);
});

Deno.test("quantile() is one of the values", () => {
  const values = [5, 1, 4, 2, 3];
  assert.deepEqual([0, 0.5, 0.99, 1].map((share) => quantile(values, share)), [1, 3, 5, 5]);
});
