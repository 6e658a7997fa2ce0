/** The bench of the API runs to its end and measures something; what, is of no interest on a machine that is busy. */
import assert from "node:assert/strict";
import { join } from "node:path";

Deno.test("bench:api --quick measures every row, and leaves nothing", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", join(import.meta.dirname ?? ".", "api_bench.ts"), "--quick"],
    env: { NO_COLOR: "1" },
  }).output();
  const said = new TextDecoder().decode(stderr);
  assert.equal(code, 0, said);
  const [table = ""] = new TextDecoder().decode(stdout).split("\n\n");
  const lines = table.trim().split("\n").slice(2).map((line) => line.split("|"));
  const values = lines.map((cells) => Number.parseFloat(cells[3]?.replaceAll(",", "") ?? ""));
  assert.ok(values.length >= 50, table);
  assert.ok(values.every((value) => value > 0), table);
  for (const what of ["device list", "version list", "diff", "search", "import", "bytes per"]) {
    assert.ok(lines.some((cells) => cells[1]?.trim().startsWith(what)), `${what}\n${table}`);
  }
});
