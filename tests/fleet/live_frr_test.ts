import assert from "node:assert/strict";
import { backUpDevice, type BackupReport } from "../../agent/session/back_up.ts";
import { makeHostKey, makeKeyPair } from "../support/farm/key_pair.ts";
import { startFrr } from "../support/live/frr.ts";
import { keyCredential, orderForLive } from "../support/live/live_order.ts";
import { liveReason } from "../support/live/live_reason.ts";
import { baselineOf } from "../support/session_order.ts";
import { skipUnless } from "../support/skip.ts";

const reason = liveReason("frr");
const liveTest = skipUnless(reason === undefined, reason ?? "");
const { signal } = new AbortController();

function textOf({ captures }: BackupReport): string {
  return new TextDecoder().decode(captures[0]?.raw);
}

liveTest("backUpDevice() reads a real FRR by password, proven by its end marker", async () => {
  await using device = await startFrr();
  const report = await backUpDevice(orderForLive(device), { signal });
  const text = textOf(report);
  assert.equal(report.captures[0]?.outcome.grade, "marker");
  assert.match(text, /^Building configuration\.\.\.\n\nCurrent configuration:\n!\nfrr version \d/);
  assert.match(text, / neighbor 192\.0\.2\.1 description transit: Büro # 4711\n/);
  assert.ok(text.includes(` neighbor 192.0.2.1 password ${device.secret}\n`));
  assert.match(text, /\nend\n$/);
  // deno-lint-ignore no-control-regex
  assert.equal(/[\x00-\x09\x0b-\x1f]/.test(text), false, "no control character is left");
  assert.match(report.facts.osVersion ?? "", /^\d+\.\d+/);
});

liveTest("backUpDevice() sees what changed on a real FRR, and nothing else", async () => {
  await using device = await startFrr();
  const first = await backUpDevice(orderForLive(device), { signal });
  const baselines = baselineOf(first);
  const second = await backUpDevice(orderForLive(device, { baselines }), { signal });
  assert.equal(second.captures[0]?.outcome.unchanged, true);
  await device.configure("router bgp 64512", "neighbor 192.0.2.1 description core-1#");
  const third = await backUpDevice(orderForLive(device, { baselines }), { signal });
  assert.equal(third.captures[0]?.outcome.unchanged, false);
  const known = new Set(textOf(first).split("\n"));
  assert.deepEqual(textOf(third).split("\n").filter((line) => !known.has(line)), [
    " neighbor 192.0.2.1 description core-1#",
  ]);
});

liveTest("backUpDevice() logs in to OpenSSH that offers keyboard-interactive alone", async () => {
  await using device = await startFrr({ methods: ["keyboard-interactive"] });
  assert.match(textOf(await backUpDevice(orderForLive(device), { signal })), /\nend\n$/);
  const credential = { ...device.login, password: "not-the-password" };
  await assert.rejects(backUpDevice(orderForLive(device, { credential }), { signal }), {
    code: "auth_rejected",
  });
});

for (const type of ["ed25519", "rsa", "ecdsa"] as const) {
  liveTest(
    `backUpDevice() logs in to OpenSSH with an ${type} key, plain and encrypted`,
    async () => {
      const plain = makeKeyPair(type);
      const encrypted = makeKeyPair(type, { passphrase: "a pass phrase" });
      const publicKeys = [plain.publicKey, encrypted.publicKey];
      await using device = await startFrr({ methods: ["publickey"], publicKeys });
      for (const pair of [plain, encrypted]) {
        const order = orderForLive(device, { credential: keyCredential(device, pair) });
        assert.match(textOf(await backUpDevice(order, { signal })), /\nend\n$/);
      }
      const stranger = orderForLive(device, {
        credential: keyCredential(device, makeKeyPair(type)),
      });
      await assert.rejects(backUpDevice(stranger, { signal }), { code: "auth_rejected" });
    },
  );
}

liveTest("backUpDevice() pins OpenSSH on first use and is strict where it must be", async () => {
  await using device = await startFrr();
  const { hostKey } = await backUpDevice(orderForLive(device), { signal });
  assert.ok(device.hostKeys.some(({ fingerprint }) => fingerprint === hostKey.fingerprint));
  const strict = { hostKeyPolicy: "strict" } as const;
  await assert.rejects(backUpDevice(orderForLive(device, strict), { signal }), {
    code: "host_key_unknown",
    hostKey,
  });
  for (const pinned of device.hostKeys) {
    const order = orderForLive(device, { ...strict, hostKeys: [pinned] });
    assert.deepEqual((await backUpDevice(order, { signal })).hostKey, pinned);
  }
  const { type, fingerprint } = makeHostKey("ed25519");
  for (const hostKeyPolicy of ["strict", "first_use"] as const) {
    const order = orderForLive(device, { hostKeyPolicy, hostKeys: [{ type, fingerprint }] });
    await assert.rejects(backUpDevice(order, { signal }), { code: "host_key_changed" });
  }
});
