import assert from "node:assert/strict";
import { ProblemError } from "@rookery/shared/problem.ts";
import { HintThrottle } from "./throttle.ts";

function clocked() {
  let now = 1_000;
  const throttle = new HintThrottle({ burst: 3, perSecond: 0.5 }, { nowSeconds: () => now });
  const take = (key: string): number => {
    try {
      throttle.take(key);
      return 0;
    } catch (error) {
      return error instanceof ProblemError ? error.retryAfterSeconds ?? -1 : -2;
    }
  };
  return { take, pass: (seconds: number) => now += seconds };
}

Deno.test("HintThrottle lets a burst through, says when to come again, and counts each caller by itself", () => {
  const { take, pass } = clocked();
  assert.deepEqual([take("a"), take("a"), take("a"), take("a")], [0, 0, 0, 2]);
  assert.equal(take("b"), 0);
  pass(1);
  assert.equal(take("a"), 1);
  pass(1);
  assert.deepEqual([take("a"), take("a")], [0, 2]);
  pass(1_000);
  assert.deepEqual([take("a"), take("a"), take("a"), take("a")], [0, 0, 0, 2]);
});

Deno.test("HintThrottle never makes a caller wait longer for having been refused", () => {
  const { take, pass } = clocked();
  for (let tries = 0; tries < 1_000; tries++) take("a");
  pass(2);
  assert.equal(take("a"), 0);
});
