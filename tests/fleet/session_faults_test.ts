import assert from "node:assert/strict";
import { DeviceError } from "../../agent/ssh/ssh_failure.ts";
import { backUpDevice } from "../../agent/session/back_up.ts";
import { appliesTo, type Fault, FAULTS } from "../support/farm/fault.ts";
import { DEFAULT_LOGIN } from "../support/farm/login.ts";
import { FARM_PLATFORMS, makeRecording } from "../support/farm/recording.ts";
import { type FarmDevice, startDevice } from "../support/farm/device.ts";
import { driverOf, orderFor } from "../support/session_order.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";

const ENABLED = { ...DEFAULT_LOGIN, enableSecret: "farm-Enable.1" };

/** What each fault ends in, or `complete`; a pair where a shell and an exec channel differ. */
type Ending = FailureCode | "complete" | "other than sent";
const ENDINGS: Record<Fault, Ending | { readonly shell: Ending; readonly exec: Ending }> = {
  refuse: "connection_refused",
  hang_before_banner: "banner_timed_out",
  hang_after_banner: "handshake_failed",
  garbage: "not_ssh",
  garbage_after_login: "connection_lost",
  changed_host_key: "host_key_changed",
  legacy_algorithms: "legacy_algorithms_only",
  reject_password: "auth_rejected",
  hang_in_login: "login_timed_out",
  password_expired: "password_expired",
  busy: "channel_refused",
  busy_text: "device_busy",
  wrong_enable: "enable_rejected",
  unknown_prompt: "prompt_not_found",
  syslog_noise: "complete",
  command_rejected: "command_rejected",
  endless_pager: "pager_stuck",
  die_mid_configuration: "connection_lost",
  close_mid_configuration: { shell: "connection_lost", exec: "configuration_truncated" },
  stall_mid_configuration: "idle_timed_out",
  prompt_mid_configuration: "configuration_interleaved",
  stop_at_prompt_mid_configuration: "configuration_truncated",
  prompt_lookalikes: "complete",
  slow_drip: "complete",
  binary: "configuration_binary",
  huge: "configuration_too_large",
  empty_configuration: "configuration_empty",
  error_text_in_configuration: "complete",
  shrunk: "complete",
};

/** How the session ended: `complete` with exactly what the device sent, or a failure code. */
async function ending(device: FarmDevice): Promise<Ending> {
  const { signal } = new AbortController();
  try {
    const { captures } = await backUpDevice(
      orderFor(device, { hostKeys: [device.hostKey] }),
      { signal },
    );
    const read = new TextDecoder().decode(captures[0]?.raw);
    return read === device.sent.at(-1) ? "complete" : "other than sent";
  } catch (error) {
    if (error instanceof DeviceError) return error.code;
    throw error;
  }
}

for (const platform of FARM_PLATFORMS) {
  const faults = (Object.keys(FAULTS) as Fault[]).filter((fault) => appliesTo(fault, platform));
  // All at once: most of them are spent waiting for a limit.
  Deno.test(`backUpDevice() ends each fault of ${platform} well or in its own failure`, async () => {
    const startedAt = performance.now();
    const endings = await Promise.all(faults.map(async (fault) => {
      await using device = await startDevice(makeRecording(platform, 11), { login: ENABLED });
      await device.setFault(fault);
      return [fault, await ending(device)] as const;
    }));
    const { transport } = driverOf({ platform });
    assert.deepEqual(
      Object.fromEntries(endings),
      Object.fromEntries(faults.map((fault) => {
        const expected = ENDINGS[fault];
        return [fault, typeof expected === "string" ? expected : expected[transport]];
      })),
    );
    assert.ok(performance.now() - startedAt < 20_000, "no fault needed the total limit");
  });
}

Deno.test("backUpDevice() recovers from a prompt that came once too early", async () => {
  await using device = await startDevice(makeRecording("cisco_iosxe", 12));
  await device.setFault("prompt_mid_configuration", { times: 1 });
  assert.equal(await ending(device), "configuration_interleaved");
  assert.equal(await ending(device), "complete");
});

Deno.test("backUpDevice() types no secret when a question has none for it or is unknown", async () => {
  await using device = await startDevice(makeRecording("cisco_iosxe", 13), { login: ENABLED });
  const order = orderFor(device);
  const { enableSecret: _, ...credential } = order.credential;
  const { signal } = new AbortController();
  await assert.rejects(backUpDevice({ ...order, credential }, { signal }), {
    code: "enable_secret_missing",
  });
  await device.setFault("password_expired");
  await assert.rejects(backUpDevice(order, { signal }), { code: "password_expired" });
  await device.setFault("unknown_prompt");
  await assert.rejects(backUpDevice(order, { signal }), { code: "prompt_not_found" });
  assert.equal(device.log.enableAttempts, 0);
  assert.deepEqual(device.log.commands, ["enable"]);
});

Deno.test("backUpDevice() refuses an enable secret of two lines before it types it", async () => {
  const login = { ...DEFAULT_LOGIN, enableSecret: "one\nreload" };
  await using device = await startDevice(makeRecording("cisco_iosxe", 14), { login });
  assert.equal(await ending(device), "credential_unusable");
  assert.equal(device.log.enableAttempts, 0);
});
