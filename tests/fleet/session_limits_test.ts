import assert from "node:assert/strict";
import { DeviceError } from "../../agent/ssh/ssh_failure.ts";
import { backUpDevice, type BackupReport } from "../../agent/session/back_up.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { type FarmDevice, startDevice } from "../support/farm/device.ts";
import { orderFor } from "../support/session_order.ts";

/** Starts a backup, aborts it after a while, and measures how long it then takes to end. */
async function abortAfter(device: FarmDevice, milliseconds: number, reason?: unknown) {
  const controller = new AbortController();
  const backup = backUpDevice(orderFor(device), { signal: controller.signal });
  const ended = backup.then((report: BackupReport) => report, (error: unknown) => error);
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  const abortedAt = performance.now();
  controller.abort(reason);
  return { error: await ended, tookMs: performance.now() - abortedAt };
}

/** The device sees its last connection close a moment after the client has ended. */
async function untilClosed(device: FarmDevice): Promise<void> {
  for (let tries = 0; device.log.open > 0 && tries < 100; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(device.log.open, 0);
}

for (const platform of ["cisco_iosxe", "juniper_junos"] as const) {
  for (const fault of ["hang_before_banner", "hang_in_login", "stall_mid_configuration"] as const) {
    Deno.test(`backUpDevice() ends within two seconds of an abort: ${platform}, ${fault}`, async () => {
      await using device = await startDevice(makeRecording(platform, 21), { fault });
      const { error, tookMs } = await abortAfter(device, 900);
      assert.ok(error instanceof DeviceError);
      assert.equal(error.code, "cancelled");
      assert.ok(tookMs < 2_500, `it took ${tookMs} ms`);
      await untilClosed(device);
    });
  }
}

Deno.test("backUpDevice() fails with the reason of the abort when that is a failure", async () => {
  await using device = await startDevice(makeRecording("frr", 22), {
    fault: "stall_mid_configuration",
  });
  const { error } = await abortAfter(device, 500, new DeviceError("lease_lost"));
  assert.ok(error instanceof DeviceError);
  assert.equal(error.code, "lease_lost");
});

Deno.test("backUpDevice() does not connect when it was aborted before", async () => {
  await using device = await startDevice(makeRecording("frr", 23));
  const signal = AbortSignal.abort();
  await assert.rejects(backUpDevice(orderFor(device), { signal }), { code: "cancelled" });
  assert.equal(device.log.connections, 0);
});

for (const platform of ["frr", "linux"] as const) {
  Deno.test(`backUpDevice() ends a session of ${platform} that takes too long in all`, async () => {
    await using device = await startDevice(makeRecording(platform, 24), { fault: "slow_drip" });
    const { signal } = new AbortController();
    const order = orderFor(device, { limits: { totalSeconds: 1 } });
    await assert.rejects(backUpDevice(order, { signal }), { code: "total_timed_out" });
    await untilClosed(device);
  });

  Deno.test(`backUpDevice() reads no more of ${platform} than the limit on bytes`, async () => {
    await using device = await startDevice(makeRecording(platform, 25));
    const { signal } = new AbortController();
    const bytes = device.configuration.length;
    const small = orderFor(device, { limits: { maxBytes: Math.floor(bytes / 2) } });
    await assert.rejects(backUpDevice(small, { signal }), { code: "configuration_too_large" });
    await untilClosed(device);
  });
}
