import assert from "node:assert/strict";
import { readOptions } from "./options.ts";
import { planFaults } from "./plan.ts";

const ORDER = { seed: 3, seconds: 60, ttlSeconds: 30, agents: 3, devices: 20 };

Deno.test("planFaults() plans the same for the same seed, and otherwise for another", () => {
  assert.deepEqual(planFaults(ORDER), planFaults(ORDER));
  assert.notDeepEqual(planFaults(ORDER), planFaults({ ...ORDER, seed: 4 }));
});

Deno.test("planFaults() has every class of faults within a minute, and a replica killed every ten seconds", () => {
  for (let seed = 0; seed < 50; seed++) {
    const plan = planFaults({ ...ORDER, seed });
    const classes = new Set(plan.map(({ fault }) => fault));
    for (
      const fault of ["kill_agent", "kill_protocol", "kill_database", "pause_agent", "cut"] as const
    ) {
      assert.ok(classes.has(fault), `${fault} with seed ${seed}`);
    }
    for (const fault of ["half_open", "lose_replies", "fill_disk", "device"] as const) {
      assert.ok(classes.has(fault), `${fault} with seed ${seed}`);
    }
    const kills = plan.filter(({ fault }) => fault === "kill_replica");
    assert.deepEqual(kills.map(({ atMs }) => atMs), [5, 15, 25, 35, 45, 55].map((s) => s * 1_000));
  }
});

Deno.test("planFaults() pauses agents for longer than they may be unheard", () => {
  const pauses = planFaults({ ...ORDER, seconds: 600 })
    .filter(({ fault }) => fault === "pause_agent" || fault === "pause_protocol");
  assert.ok(pauses.length > 10);
  for (const { forMs } of pauses) assert.ok(forMs > ORDER.ttlSeconds * 1_000);
});

Deno.test("planFaults() kills more than 20 times in five minutes", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const kills = planFaults({ ...ORDER, seed, seconds: 300 })
      .filter(({ fault }) => fault.startsWith("kill_"));
    assert.ok(kills.length >= 30, `${kills.length} with seed ${seed}`);
  }
});

Deno.test("readOptions() names the flag that is wrong", () => {
  assert.equal(readOptions([]).seconds, 300);
  assert.throws(() => readOptions(["--seconds", "5"]), /--seconds must be a whole number from 30/);
  assert.throws(() => readOptions(["--seed=x"]), /--seed/);
});
