import assert from "node:assert/strict";
import { backUpDevice, type BackupReport } from "../../agent/session/back_up.ts";
import { makeHostKey, makeKeyPair } from "../support/farm/key_pair.ts";
import { startDropbear } from "../support/live/dropbear.ts";
import { keyCredential, orderForLive } from "../support/live/live_order.ts";
import { liveReason } from "../support/live/live_reason.ts";
import { baselineOf } from "../support/session_order.ts";
import { skipUnless } from "../support/skip.ts";

const reason = liveReason("dropbear");
const liveTest = skipUnless(reason === undefined, reason ?? "");
const { signal } = new AbortController();

function textOf({ captures }: BackupReport): string {
  return new TextDecoder().decode(captures[0]?.raw);
}

liveTest("backUpDevice() reads a Linux host behind dropbear by password", async () => {
  await using device = await startDropbear();
  const report = await backUpDevice(orderForLive(device), { signal });
  const text = textOf(report);
  const hosts = await Deno.readTextFile("/etc/hosts");
  assert.ok(text.includes(`### /etc/hosts\n${hosts}`), "the file is there, byte by byte");
  assert.match(text, /\n### end\n$/);
  assert.equal(report.captures[0]?.outcome.grade, "marker");
  assert.equal(report.facts.hostname, Deno.hostname());
  const baselines = baselineOf(report);
  const again = await backUpDevice(orderForLive(device, { baselines }), { signal });
  assert.equal(again.captures[0]?.outcome.unchanged, true);
});

liveTest("backUpDevice() says that dropbear refused a password", async () => {
  await using device = await startDropbear();
  const credential = { ...device.login, password: "not-the-password" };
  await assert.rejects(backUpDevice(orderForLive(device, { credential }), { signal }), {
    code: "auth_rejected",
  });
});

for (const type of ["ed25519", "rsa", "ecdsa"] as const) {
  liveTest(
    `backUpDevice() logs in to dropbear with an ${type} key, plain and encrypted`,
    async () => {
      const plain = makeKeyPair(type);
      const encrypted = makeKeyPair(type, { passphrase: "a pass phrase" });
      const publicKeys = [plain.publicKey, encrypted.publicKey];
      await using device = await startDropbear({ methods: ["publickey"], publicKeys });
      for (const pair of [plain, encrypted]) {
        const order = orderForLive(device, { credential: keyCredential(device, pair) });
        assert.match(textOf(await backUpDevice(order, { signal })), /\n### end\n$/);
      }
      await assert.rejects(backUpDevice(orderForLive(device), { signal }), {
        code: "auth_rejected",
      });
    },
  );
}

liveTest("backUpDevice() pins dropbear on first use and is strict where it must be", async () => {
  await using device = await startDropbear();
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
  const changed = orderForLive(device, { hostKeys: [{ type, fingerprint }] });
  await assert.rejects(backUpDevice(changed, { signal }), { code: "host_key_changed" });
});
