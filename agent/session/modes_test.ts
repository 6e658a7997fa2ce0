import assert from "node:assert/strict";
import { driver } from "@rookery/shared/drivers/driver.ts";
import { findWay } from "./modes.ts";

const graph = driver({
  platform: "test",
  label: "Test",
  evidence: { kind: "unverified" },
  transport: "shell",
  modes: {
    a: { prompt: /^a$/, entries: [{ from: "b", send: "to a" }] },
    b: { prompt: /^b$/, entries: [{ from: "a", send: "to b" }] },
    c: { prompt: /^c$/, entries: [{ from: "b", send: "b to c" }, { from: "d", send: "d to c" }] },
    d: { prompt: /^d$/ },
  },
  captureMode: "c",
  captures: [{
    name: "running",
    commands: ["show"],
    end: { grade: "prompt" },
    minimum: { lines: 1 },
  }],
  restore: "None.",
});

function lines(from: string, to: string): readonly string[] {
  return findWay(graph, { from, to }).map(({ entry }) => entry.send);
}

Deno.test("findWay() takes the shortest way between modes, also round a circle", () => {
  assert.deepEqual(lines("a", "c"), ["to b", "b to c"]);
  assert.deepEqual(lines("d", "c"), ["d to c"]);
  assert.deepEqual(lines("b", "b"), []);
  assert.throws(() => lines("a", "d"), { code: "mode_not_reached" });
});
