import assert from "node:assert/strict";
import { compilePolicy, LocalPolicy, refuseKind } from "./local_policy.ts";

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
  "::127.0.0.1",
  "::7f00:1",
  "::ffff:0:127.0.0.1",
  "64:ff9b:1::10.0.0.1",
  "64:ff9b:1:7f00:0:100::",
  "2002:7f00:1::1",
  "2002:a9fe:a9fe::",
  // Teredo: 169.254.169.254 as its server, and as its client.
  "2001:0:a9fe:a9fe::1",
  "2001:0:4136:e378:8000:63bf:5601:5601",
  "2001:db8::5efe:127.0.0.1",
  "2001:db8::200:5efe:127.0.0.1",
  "168.63.129.16",
  "192.0.0.192",
  "224.0.0.1",
  "255.255.255.255",
  "ff02::1",
  "fd20:ce::254",
  "fd00:42::42",
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

Deno.test("compilePolicy() judges an address that carries another by both", () => {
  const both = { networks: ["10.0.0.0/8", "64:ff9b::/96", "2002::/16"] };
  assert.equal(allows(both, "64:ff9b::10.1.2.3"), true);
  assert.equal(allows(both, "64:ff9b::192.0.2.1"), false);
  assert.equal(allows(both, "2002:a01:203::1"), true);
  assert.equal(allows(both, "2002:c000:201::1"), false);
  assert.equal(allows({ networks: ["10.0.0.0/8"] }, "64:ff9b::10.1.2.3"), false);
  assert.equal(allows({ networks: ["64:ff9b::/96"] }, "64:ff9b::10.1.2.3"), false);
  const own = { networks: ["64:ff9b:1:7::/96"] };
  assert.equal(allows(own, "64:ff9b:1:7::10.1.2.3"), true);
  assert.equal(allows(own, "64:ff9b:1:7::169.254.169.254"), false);
});

Deno.test("refuseKind() lets the kinds through that the policy names, or all", () => {
  assert.equal(refuseKind({}, "backup_config"), undefined);
  assert.equal(refuseKind({ kinds: ["backup_config"] }, "backup_config"), undefined);
  assert.match(refuseKind({ kinds: [] }, "backup_config") ?? "", /policy\.kinds in settings\.json/);
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
