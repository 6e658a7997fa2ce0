import assert from "node:assert/strict";
import { normalisedSha256 } from "@rookery/shared/drivers/normalise.ts";
import { commandsOf } from "@rookery/shared/drivers/mod.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { backUpDevice } from "../../agent/session/back_up.ts";
import { DEFAULT_LOGIN } from "../support/farm/login.ts";
import { FARM_PLATFORMS, makeRecording } from "../support/farm/recording.ts";
import { startDevice } from "../support/farm/device.ts";
import { baselineOf, driverOf, orderFor } from "../support/session_order.ts";

const signal = new AbortController().signal;
const ENABLED = { ...DEFAULT_LOGIN, enableSecret: "farm-Enable.1" };

function textOf(bytes: Uint8Array | undefined): string {
  return new TextDecoder().decode(bytes);
}

for (const platform of FARM_PLATFORMS) {
  Deno.test(`backUpDevice() reads of ${platform} the exact bytes that the device sent`, async () => {
    await using device = await startDevice(makeRecording(platform, 1), { login: ENABLED });
    const { captures, facts, hostKey } = await backUpDevice(orderFor(device), { signal });
    const [capture] = captures;
    assert.ok(capture);
    assert.equal(textOf(capture.raw), device.sent.at(0));
    const driver = driverOf(device);
    const [asked] = driver.captures;
    assert.ok(asked);
    const lines = device.configuration.split("\n").length - 1;
    assert.deepEqual(capture.outcome, {
      name: "running",
      grade: asked.end.grade,
      rawSha256: await sha256(new TextEncoder().encode(device.sent.at(0) ?? "")),
      normalisedSha256: await normalisedSha256(capture.raw, { driver, capture: asked }),
      bytes: capture.raw.length,
      lines,
      unchanged: false,
      confirmedShrunk: false,
    });
    assert.equal(facts.hostname, device.hostname);
    assert.ok(facts.osVersion);
    assert.equal(hostKey.fingerprint, device.hostKey.fingerprint);
  });

  Deno.test(`backUpDevice() sends ${platform} only lines of its driver, and logs out`, async () => {
    await using device = await startDevice(makeRecording(platform, 2), { login: ENABLED });
    await backUpDevice(orderFor(device), { signal });
    const allowed = commandsOf(driverOf(device), []);
    assert.deepEqual(device.log.commands.filter((command) => !allowed.includes(command)), []);
    assert.equal(device.log.enableAttempts, platform === "cisco_iosxe" ? 1 : 0);
    assert.equal(device.log.logins.filter(({ accepted }) => accepted).length, 1);
    if (driverOf(device).transport === "shell") assert.equal(device.log.commands.at(-1), "exit");
  });

  Deno.test(`backUpDevice() calls ${platform} unchanged until a line that matters changes`, async () => {
    await using device = await startDevice(makeRecording(platform, 3));
    const first = await backUpDevice(orderFor(device), { signal });
    const baselines = baselineOf(first);
    const second = await backUpDevice(orderFor(device, { baselines }), { signal });
    assert.equal(second.captures[0]?.outcome.unchanged, true);
    device.setConfiguration(device.text.replace(/10\.0\.0\./g, "10.99.0."));
    const third = await backUpDevice(orderFor(device, { baselines }), { signal });
    assert.equal(third.captures[0]?.outcome.unchanged, false);
    assert.equal(textOf(third.captures[0]?.raw), device.configuration);
  });

  Deno.test(`backUpDevice() reads ${platform} again when it has shrunk`, async () => {
    await using device = await startDevice(makeRecording(platform, 4));
    const baselines = baselineOf(await backUpDevice(orderFor(device), { signal }));
    await device.setFault("shrunk");
    const readings = device.sent.length;
    const { captures } = await backUpDevice(orderFor(device, { baselines }), { signal });
    assert.equal(captures[0]?.outcome.confirmedShrunk, true);
    assert.equal(device.sent.length - readings, 2);
    assert.equal(textOf(captures[0]?.raw), device.configuration);
    const tolerant = orderFor(device, { baselines, limits: { shrinkPercent: 100 } });
    const again = await backUpDevice(tolerant, { signal });
    assert.equal(again.captures[0]?.outcome.confirmedShrunk, false);
  });
}

Deno.test("backUpDevice() says what it does, step by step, and how much is behind it", async () => {
  await using device = await startDevice(makeRecording("frr", 3));
  const steps: (readonly [step: string, percent: number])[] = [];
  await backUpDevice(orderFor(device), {
    signal,
    onStep: (step, percent) => steps.push([step, percent]),
  });
  assert.deepEqual(steps.map(([step]) => step), [
    "connecting",
    "waiting for the identification of the device",
    "logging in",
    "opening the command line",
    "reading running",
    "reading facts",
    "logging out",
  ]);
  const percents = steps.map(([, percent]) => percent);
  assert.deepEqual(percents, percents.toSorted((left, right) => left - right));
});

Deno.test("backUpDevice() calls linux unchanged when only the greeting of its shell differs", async () => {
  await using device = await startDevice(makeRecording("linux", 3));
  const files = device.text;
  device.setConfiguration(`Welcome, it is 10:00\n${files}`);
  const first = await backUpDevice(orderFor(device), { signal });
  device.setConfiguration(`Welcome, it is 10:01\n${files}`);
  const baselines = baselineOf(first);
  const { captures: [second] } = await backUpDevice(orderFor(device, { baselines }), { signal });
  assert.equal(second?.outcome.unchanged, true);
  assert.equal(textOf(second?.raw), device.configuration);
});

for (const pagerErase of ["backspaces", "blanks"] as const) {
  Deno.test(`backUpDevice() turns a pager that erases itself by ${pagerErase}`, async () => {
    await using device = await startDevice(makeRecording("cisco_iosxe", 5), {
      stickyPager: true,
      pagerErase,
    });
    const { captures, facts } = await backUpDevice(orderFor(device), { signal });
    assert.equal(textOf(captures[0]?.raw), device.configuration);
    assert.equal(facts.model, "C1111-8P");
  });
}

Deno.test("backUpDevice() reads all facts of IOS XE", async () => {
  await using device = await startDevice(makeRecording("cisco_iosxe", 6));
  const { facts } = await backUpDevice(orderFor(device), { signal });
  assert.match(facts.serialNumber ?? "", /^FOC\w{8}$/);
  assert.deepEqual({ ...facts, serialNumber: undefined }, {
    hostname: device.hostname,
    lastChangedBy: "netops",
    model: "C1111-8P",
    osVersion: "17.09.04a",
    serialNumber: undefined,
    uptime: "12 weeks, 3 days, 4 hours, 5 minutes",
  });
});

Deno.test("backUpDevice() refuses a capture that the driver lacks, without a connection", async () => {
  await using device = await startDevice(makeRecording("linux", 7));
  await assert.rejects(backUpDevice(orderFor(device, { captures: ["startup"] }), { signal }), {
    code: "lease_invalid",
  });
  assert.equal(device.log.connections, 0);
});
