import assert from "node:assert/strict";
import { compilePolicy, LocalPolicy } from "./local_policy.ts";

function allows(policy: LocalPolicy, address: string, port = 22): boolean {
  return compilePolicy(LocalPolicy.parse(policy))({ address, port });
}

/** Places that lead back to this machine, its neighbours on the wire, or a cloud's credentials. */
const GUARDED = [
  "127.0.0.1",
  "127.255.255.254",
  "0.0.0.0",
  "0.1.2.3",
  "169.254.169.254",
  "100.100.100.200",
  "::1",
  "::",
  "0:0:0:0:0:0:0:1",
  "fe80::1",
  "fe80::1%eth0",
  "fd00:ec2::254",
  "::ffff:127.0.0.1",
  "::ffff:7f00:1",
  "64:ff9b::7f00:1",
  "64:ff9b::169.254.169.254",
];

for (const address of GUARDED) {
  Deno.test(`compilePolicy() refuses ${address} unless a network inside it is named`, () => {
    assert.equal(allows({}, address), false);
    assert.equal(allows({ networks: ["0.0.0.0/0", "::/0"] }, address), false);
  });
}

Deno.test("compilePolicy() lets a lease go where the policy names a guarded network", () => {
  const policy = { networks: ["127.0.0.0/8"] };
  assert.equal(allows(policy, "127.0.0.1"), true);
  assert.equal(allows(policy, "::ffff:127.0.0.1"), true);
  assert.equal(allows(policy, "::1"), false);
  assert.equal(allows(policy, "10.0.0.1"), false);
});

Deno.test("compilePolicy() without networks allows every other address, with them only those", () => {
  assert.equal(allows({}, "10.0.0.1"), true);
  assert.equal(allows({}, "2001:db8::1"), true);
  const policy = { networks: ["10.0.0.0/8", "2001:db8::/32"] };
  assert.equal(allows(policy, "10.255.0.1"), true);
  assert.equal(allows(policy, "11.0.0.1"), false);
  assert.equal(allows(policy, "2001:db8:1::1"), true);
  assert.equal(allows(policy, "2001:db9::1"), false);
});

Deno.test("compilePolicy() allows the ports that are named, and no text that is no address", () => {
  assert.equal(allows({ ports: [22, 2222] }, "10.0.0.1", 2222), true);
  assert.equal(allows({ ports: [22, 2222] }, "10.0.0.1", 443), false);
  for (const text of ["", "core-1", "2130706433", "0x7f.1", "127.1", "10.0.0.1:22"]) {
    assert.equal(allows({}, text), false, text);
  }
});

Deno.test("LocalPolicy refuses what is no network, no port, and what it does not know", () => {
  for (const policy of [{ networks: ["10.0.0.0"] }, { ports: [0] }, { nets: ["10.0.0.0/8"] }]) {
    assert.equal(LocalPolicy.safeParse(policy).success, false, JSON.stringify(policy));
  }
});
