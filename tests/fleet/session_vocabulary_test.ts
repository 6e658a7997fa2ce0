import assert from "node:assert/strict";
import { type Driver, driver, type DriverSource } from "@rookery/shared/drivers/driver.ts";
import { backUpDevice, type BackupOrder } from "../../agent/session/back_up.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { type Script, type ScriptedShell, startScriptedShell } from "../support/scripted_shell.ts";
import { driverOf, orderFor } from "../support/session_order.ts";

const { signal } = new AbortController();

/** A driver whose only capture is changed. */
function withCapture(original: Driver, change: Partial<Driver["captures"][number]>): Driver {
  const [capture] = original.captures;
  assert.ok(capture);
  return { ...original, captures: [{ ...capture, ...change }] };
}

Deno.test("a capture of grade prompt is believed when the device repeats its prompt", async () => {
  await using device = await startDevice(makeRecording("frr", 31));
  const plain = withCapture(driverOf(device), { end: { grade: "prompt" } });
  const { captures } = await backUpDevice(orderFor(device, { driver: plain }), { signal });
  assert.equal(captures[0]?.outcome.grade, "prompt");
  assert.equal(new TextDecoder().decode(captures[0]?.raw), device.sent.at(-1));
  await device.setFault("prompt_mid_configuration");
  await assert.rejects(backUpDevice(orderFor(device, { driver: plain }), { signal }), {
    code: "configuration_interleaved",
  });
});

Deno.test("a capture of grade two-read is read twice, and the readings must agree", async () => {
  await using device = await startDevice(makeRecording("cisco_iosxe", 32));
  const twice = withCapture(driverOf(device), { end: { grade: "two-read" } });
  const { captures } = await backUpDevice(orderFor(device, { driver: twice }), { signal });
  assert.equal(captures[0]?.outcome.grade, "two-read");
  assert.equal(captures[0]?.outcome.confirmedShrunk, false);
  assert.equal(device.sent.length, 2);
  // Without its volatile lines known, the text differs at every reading.
  const blind = { ...twice, volatile: [] };
  await assert.rejects(backUpDevice(orderFor(device, { driver: blind }), { signal }), {
    code: "configuration_unstable",
  });
});

Deno.test("the next command of a capture is tried when the device refuses the one before", async () => {
  for (const platform of ["frr", "linux"] as const) {
    await using device = await startDevice(makeRecording(platform, 33));
    const original = driverOf(device);
    const commands = ["show nothing", ...original.captures[0]?.commands ?? []];
    const patient = withCapture(original, { commands });
    const { captures } = await backUpDevice(orderFor(device, { driver: patient }), { signal });
    assert.equal(new TextDecoder().decode(captures[0]?.raw), device.sent.at(-1));
  }
});

Deno.test("an opening line that must work ends the session when it is refused", async () => {
  await using device = await startDevice(makeRecording("cisco_iosxe", 34));
  const strict = { ...driverOf(device), opening: [{ send: "show nothing", mayFail: false }] };
  await assert.rejects(backUpDevice(orderFor(device, { driver: strict }), { signal }), {
    code: "command_rejected",
  });
});

const ASKING: DriverSource = {
  platform: "asking",
  label: "A device that asks",
  evidence: { kind: "unverified" },
  transport: "shell",
  newline: "\r",
  modes: {
    view: { prompt: /^box>\s?$/ },
    manage: {
      prompt: /^box#\s?$/,
      entries: [{ from: "view", send: "manage", question: /^Name: $/, answer: "username" }],
    },
    system: { prompt: /^box\(system\)#\s?$/, entries: [{ from: "manage", send: "system" }] },
  },
  captureMode: "system",
  dialogues: [{
    pattern: /^Accept the policy \(y\/n\)\? $/,
    answer: "y",
    why: "a policy banner must be accepted before the prompt",
  }],
  captures: [{
    name: "running",
    commands: ["show config"],
    end: { grade: "marker", line: /^end$/ },
    minimum: { lines: 2 },
  }],
  restore: "None.",
};

const SCRIPT: Script = {
  "": "Welcome\r\nbox> is a nice box\r\nAccept the policy (y/n)? ",
  "y": "y\r\nPress any key to continue",
  " ": "\r\x1b[Kbox>",
  "\r": (times) => times === 0 ? "\r\nbox>" : "\r\nbox(system)#",
  "manage\r": "manage\r\nName: ",
  "netops\r": "netops\r\nbox#",
  "system\r": "system\r\nbox(system)#",
  "show config\r": "show config\r\none \xe9\r\nend\r\nbox(system)#",
};

function orderOf(device: ScriptedShell, changed: Driver): BackupOrder {
  return {
    kind: "backup_config",
    driver: changed,
    target: { host: device.host, port: device.port },
    credential: { username: "netops", password: "box-Password.1" },
    hostKeyPolicy: "first_use",
    hostKeys: [],
    legacyAlgorithms: false,
    limits: {
      connectSeconds: 2,
      idleSeconds: 1,
      totalSeconds: 20,
      maxBytes: 100_000,
      shrinkPercent: 50,
    },
    captures: [],
    baselines: {},
  };
}

Deno.test("dialogues are answered and modes walked, and nothing else is typed", async () => {
  await using device = await startScriptedShell(SCRIPT);
  const { captures } = await backUpDevice(orderOf(device, driver(ASKING)), { signal });
  assert.equal(new TextDecoder().decode(captures[0]?.raw), "one \u00e9\nend\n");
  assert.deepEqual(device.typed, [
    ..."y ",
    "\r",
    "manage\r",
    "netops\r",
    "system\r",
    "show config\r",
    "\r",
    "exit\r",
  ]);
});

Deno.test("an unknown question is never answered", async () => {
  for (const question of ["Password: ", "Reboot now [yes]? ", "New password: ", "Username: "]) {
    await using device = await startScriptedShell({ "": question });
    const code = question.startsWith("New") ? "password_expired" : "prompt_not_found";
    await assert.rejects(backUpDevice(orderOf(device, driver(ASKING)), { signal }), { code });
    assert.deepEqual(device.typed, []);
  }
});

Deno.test("a silent shell is asked for its prompt, and given up after the idle limit", async () => {
  await using device = await startScriptedShell({ "": "", "\r": "" });
  await assert.rejects(backUpDevice(orderOf(device, driver(ASKING)), { signal }), {
    code: "idle_timed_out",
  });
  assert.deepEqual(device.typed, ["\r", "\r", "\r"]);
});

Deno.test("the echo is required, unless the driver says that it cannot be checked", async () => {
  const completing = {
    ...SCRIPT,
    "show config\r": "show configuration\r\none\r\nend\r\nbox(system)#",
  };
  await using device = await startScriptedShell(completing);
  await assert.rejects(backUpDevice(orderOf(device, driver(ASKING)), { signal }), {
    code: "idle_timed_out",
  });
  const relaxed = driver({ ...ASKING, echo: "relaxed" });
  const { captures } = await backUpDevice(orderOf(device, relaxed), { signal });
  assert.equal(new TextDecoder().decode(captures[0]?.raw), "one\nend\n");
});
