import assert from "node:assert/strict";
import { Intake } from "./intake.ts";

const encoder = new TextEncoder();

function changeBy(user: string, host = "core-1"): Uint8Array {
  return encoder.encode(
    `<189>Nov 26 12:00:00 ${host} 1: %SYS-5-CONFIG_I: Configured from console by ${user} on vty0`,
  );
}

function clocked(perSecond = 10) {
  let now = 0;
  const intake = new Intake({ sources: ["192.0.2.0/24", "2001:db8::/32"], perSecond }, {
    nowMs: () => now,
  });
  return { intake, pass: (seconds: number) => now += seconds * 1_000 };
}

Deno.test("Intake admits the sources that it was given, however they are written", () => {
  const { intake } = clocked();
  const asked = [
    "192.0.2.7",
    "::ffff:192.0.2.7",
    "2001:db8::1",
    "198.51.100.1",
    "::1",
    "2001:db9::1",
  ];
  assert.deepEqual(asked.map((address) => intake.admits(address)), [
    ...[true, true, true],
    ...[false, false, false],
  ]);
  assert.equal(intake.figures.refused, 3);
});

Deno.test("Intake makes one hint of many messages of one host and user, with the newest text", () => {
  const { intake } = clocked();
  for (const user of ["alice", "alice", "bob", "alice"]) intake.take("192.0.2.1", changeBy(user));
  intake.take("192.0.2.1", encoder.encode("<189>%LINK-3-UPDOWN: Interface Gi0/1"));
  const fetched = intake.fetch(100);
  assert.deepEqual(
    fetched.map(({ address, host, user, count }) => [address, host, user, count]),
    [["192.0.2.1", "core-1", "alice", 3], ["192.0.2.1", "core-1", "bob", 1]],
  );
  assert.deepEqual(intake.fetch(100), []);
  const { messages, changes } = intake.figures;
  assert.deepEqual([messages, changes], [5, 4]);
});

Deno.test("Intake drops what one source says beyond its rate, and nothing of another", () => {
  const { intake, pass } = clocked(10);
  for (let n = 0; n < 1_000; n++) intake.take("192.0.2.1", changeBy("alice"));
  intake.take("192.0.2.2", changeBy("bob"));
  assert.equal(intake.figures.tooMany, 950);
  pass(1);
  for (let n = 0; n < 20; n++) intake.take("192.0.2.1", changeBy("alice"));
  assert.equal(intake.figures.tooMany, 960);
  assert.deepEqual(intake.fetch(100).map(({ user, count }) => [user, count]), [
    ["alice", 60],
    ["bob", 1],
  ]);
});

Deno.test("Intake keeps so many hints of a source and so many in all, and has room again when they are fetched", () => {
  const { intake } = clocked(10_000);
  for (let n = 0; n < 500; n++) intake.take("192.0.2.1", changeBy(`user${n}`));
  assert.equal(intake.figures.noRoom, 480);
  for (let source = 0; source < 200; source++) {
    for (let n = 0; n < 20; n++) intake.take(`2001:db8::${source + 1}`, changeBy(`user${n}`));
  }
  const first = intake.fetch(100);
  assert.equal(first.length, 100);
  assert.equal(first.length + intake.fetch(10_000).length, 1_000);
  intake.take("192.0.2.1", changeBy("again"));
  assert.deepEqual(intake.fetch(10).map(({ user }) => user), ["again"]);
});

Deno.test("Intake forgets the sources that it heard longest ago, and so does not grow with their number", () => {
  const { intake } = clocked(10);
  for (let n = 0; n < 60; n++) intake.take("192.0.2.1", changeBy("alice"));
  assert.equal(intake.figures.tooMany, 10);
  for (let source = 1; source <= 5_000; source++) {
    intake.take(`2001:db8::${source.toString(16)}`, changeBy("a"));
  }
  intake.take("192.0.2.1", changeBy("alice"));
  assert.equal(intake.figures.tooMany, 10, "it is known no more");
  assert.equal(intake.fetch(10_000).length, 1_000);
});
