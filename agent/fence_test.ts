import assert from "node:assert/strict";
import { Fence } from "./fence.ts";

function fenceAt(start: number) {
  let now = start;
  const fence = new Fence({ now: () => now, sleep: () => Promise.resolve() });
  return { fence, pass: (ms: number) => now += ms };
}

Deno.test("Fence is closed until the first heartbeat is answered", () => {
  assert.equal(fenceAt(1_000).fence.remainingMs(), Number.NEGATIVE_INFINITY);
});

Deno.test("Fence counts from when the heartbeat was sent, and ends a margin before the lease", () => {
  const { fence, pass } = fenceAt(0);
  pass(9_000);
  fence.renew(0, 180);
  assert.equal(fence.remainingMs(), 180_000 - 27_000 - 9_000);
  pass(144_000);
  assert.equal(fence.remainingMs(), 0);
});

Deno.test("Fence keeps two seconds of a short lease, and no older answer shortens it", () => {
  const { fence } = fenceAt(50_000);
  fence.renew(50_000, 10);
  assert.equal(fence.remainingMs(), 8_000);
  fence.renew(40_000, 10);
  assert.equal(fence.remainingMs(), 8_000);
});
