import assert from "node:assert/strict";
import { type FarmDevice, startDevice } from "./device.ts";
import { type KeyType, makeKeyPair } from "./key_pair.ts";
import { DEFAULT_LOGIN, makeKeyLogin } from "./login.ts";
import { PLATFORM_MANNERS } from "./platform.ts";
import { makeRecording } from "./recording.ts";
import { connectRaw, type RawShell } from "./ssh_client.ts";

const ENABLE_LOGIN = { ...DEFAULT_LOGIN, enableSecret: "farm-Enable.1" };

function captureCommand(device: FarmDevice): string {
  return PLATFORM_MANNERS[device.platform].captureCommands[0] ?? "";
}

/** The text between the echo of `command` and the prompt, lines ended by `\n`. */
async function readAnswer(shell: RawShell, command: string, prompt: RegExp): Promise<string> {
  shell.send(`${command}\n`);
  const text = (await shell.until(prompt)).replaceAll("\r\n", "\n");
  return text.slice(text.indexOf("\n") + 1, text.lastIndexOf("\n") + 1);
}

Deno.test("startDevice() plays IOS XE: banner, enable, paging off, the exact configuration, exit", async () => {
  await using device = await startDevice(makeRecording("cisco_iosxe", 1), { login: ENABLE_LOGIN });
  await using client = await connectRaw(device, device.login);
  assert.equal(client.fingerprint, device.hostKey.fingerprint);
  const shell = await client.shell();
  assert.match(await shell.until(/core-1>$/), /Authorised access only/);
  shell.send("enable\n");
  await shell.until(/\r\nPassword: $/);
  shell.send("farm-Enable.1\n");
  await shell.until(/core-1#$/);
  shell.send("terminal length 0\n");
  await shell.until(/core-1#$/);
  const answer = await readAnswer(shell, "show running-config", /end\r\n\r\ncore-1#$/);
  assert.equal(answer, device.configuration);
  assert.match(answer, /^Building configuration\.\.\.\n\nCurrent configuration : \d+ bytes\n/);
  assert.match(await readAnswer(shell, "show version", /core-1#$/), /Version 17\.09\.04a/);
  shell.send("exit\n");
  await shell.ended;
  await assert.rejects(client.exec("show version"));
  assert.deepEqual(device.log.commands.slice(0, 3), [
    "enable",
    "terminal length 0",
    "show running-config",
  ]);
  assert.equal(shell.seen.includes("farm-Enable.1"), false, "a typed secret is not echoed");
});

Deno.test("startDevice() changes the volatile lines of IOS XE at every call", async () => {
  await using device = await startDevice(makeRecording("cisco_iosxe", 1));
  await using client = await connectRaw(device, device.login);
  const shell = await client.shell();
  await shell.until(/core-1#$/);
  shell.send("terminal length 0\n");
  await shell.until(/core-1#$/);
  const first = await readAnswer(shell, "show running-config", /end\r\n\r\ncore-1#$/);
  const second = await readAnswer(shell, "show running-config", /end\r\n\r\ncore-1#$/);
  const secondLines = second.split("\n");
  const changed = first.split("\n").filter((line, index) => line !== secondLines[index]);
  assert.deepEqual(changed.map((line) => line.split(" ").slice(0, 4).join(" ")), [
    "! Last configuration change",
    "ntp clock-period 17179869",
  ]);
  assert.deepEqual(device.sent, [first, second]);
});

for (const pagerErase of ["backspaces", "blanks"] as const) {
  Deno.test(`startDevice() pages IOS XE until it is turned off, wiping with ${pagerErase}`, async () => {
    const recording = makeRecording("cisco_iosxe", 2);
    await using device = await startDevice(recording, { pagerErase });
    await using client = await connectRaw(device, device.login);
    const shell = await client.shell();
    await shell.until(/core-2#$/);
    shell.send("show running-config\n");
    let text = "";
    while (!/core-2#$/.test(text)) {
      text = await shell.until(/ --More-- $|end\r\n\r\ncore-2#$/);
      if (text.endsWith("--More-- ")) shell.send(" ");
    }
    const wipe = pagerErase === "blanks"
      ? `\r${" ".repeat(10)}\r`
      : "\b".repeat(10) + " ".repeat(10) + "\b".repeat(10);
    const clean = shell.seen.replaceAll(` --More-- ${wipe}`, "").replaceAll("\r\n", "\n");
    assert.ok(clean.includes(`show running-config\n${device.configuration}core-2#`));
    assert.ok(shell.seen.split(` --More-- ${wipe}`).length > 4);
  });
}

Deno.test("startDevice() refuses an unknown command, a wrong enable secret and user-mode captures", async () => {
  await using device = await startDevice(makeRecording("cisco_iosxe", 3), { login: ENABLE_LOGIN });
  await using client = await connectRaw(device, device.login);
  const shell = await client.shell();
  await shell.until(/core-3>$/);
  for (const command of ["show nonsense", "show running-config"]) {
    assert.match(
      await readAnswer(shell, command, /core-3>$/),
      /\^\n% Invalid input detected at '\^' marker\.\n/,
    );
  }
  shell.send("enable\nwrong\nwrong\nwrong\n");
  assert.match(await shell.until(/core-3>$/), /% Bad secrets/);
  assert.equal(device.log.enableAttempts, 3);
});

Deno.test("startDevice() plays FRR's vtysh with readline's escape sequences", async () => {
  await using device = await startDevice(makeRecording("frr", 4));
  await using client = await connectRaw(device, device.login);
  const shell = await client.shell();
  // deno-lint-ignore no-control-regex
  await shell.until(/\x1b\[\?2004hrr-4# $/);
  const answer = await readAnswer(shell, "show running-config", /end\r\n.*rr-4# $/);
  assert.equal(answer.replace("\x1b[?2004l\r", ""), device.configuration);
  assert.match(await readAnswer(shell, "show nonsense", /rr-4# $/), /% Unknown command: show nons/);
});

for (const platform of ["juniper_junos", "linux"] as const) {
  Deno.test(`startDevice() plays ${platform} over exec, with exit statuses`, async () => {
    await using device = await startDevice(makeRecording(platform, 5));
    await using client = await connectRaw(device, device.login);
    const captured = await client.exec(captureCommand(device));
    assert.equal(captured.stdout.toString(), device.configuration);
    assert.equal(captured.status, 0);
    const refused = await client.exec("nonsense now");
    assert.equal(refused.status, platform === "linux" ? 127 : 1);
    assert.match(refused.stdout.toString() + refused.stderr, /not found|unknown command/);
    await assert.rejects(client.shell());
  });
}

for (const type of ["ed25519", "rsa", "ecdsa"] as const satisfies readonly KeyType[]) {
  Deno.test(`startDevice() knows a user by an ${type} key, and shows an ${type} host key`, async () => {
    const login = makeKeyLogin(type === "ecdsa" ? "ed25519" : type, { passphrase: "pass phrase" });
    await using device = await startDevice(makeRecording("linux", 6), { login, hostKeyType: type });
    await using client = await connectRaw(device, login);
    assert.equal(client.fingerprint, device.hostKey.fingerprint);
    const stranger = { ...login, keyPair: makeKeyPair("ed25519") };
    await assert.rejects(connectRaw(device, stranger), /authentication methods failed/);
    const signed = device.log.logins.filter((attempt) => attempt.accepted);
    assert.deepEqual(signed, [{ method: "publickey", username: "netops", accepted: true }]);
  });
}

Deno.test("startDevice() asks by keyboard-interactive alone, and logs no secret", async () => {
  const login = { ...DEFAULT_LOGIN, methods: ["keyboard-interactive"] as const };
  await using device = await startDevice(makeRecording("linux", 7), { login });
  await using _client = await connectRaw(device, login);
  await assert.rejects(connectRaw(device, { ...login, password: "wrong-Password" }));
  const methods = device.log.logins.map(({ method, accepted }) => `${method} ${accepted}`);
  assert.ok(methods.includes("keyboard-interactive true"));
  assert.ok(methods.includes("keyboard-interactive false"));
  assert.equal(/farm-Password|wrong-Password/.test(JSON.stringify(device.log)), false);
});

Deno.test("FarmDevice.setConfiguration() and setHostKey() change what the next session sees", async () => {
  await using device = await startDevice(makeRecording("linux", 8));
  const before = device.hostKey.fingerprint;
  device.setConfiguration(device.text.replace("### end", "### /etc/motd\nhello\n\n### end"));
  device.setHostKey();
  await using client = await connectRaw(device, device.login);
  assert.notEqual(client.fingerprint, before);
  assert.equal(client.fingerprint, device.hostKey.fingerprint);
  const { stdout } = await client.exec(captureCommand(device));
  assert.match(stdout.toString(), /### \/etc\/motd\nhello\n\n### end\n$/);
});

Deno.test("FarmDevice.stop() breaks open sessions and leaves no socket", async () => {
  const device = await startDevice(makeRecording("cisco_iosxe", 9));
  const client = await connectRaw(device, device.login);
  await (await client.shell()).until(/core-9#$/);
  assert.equal(device.log.open, 1);
  await device.stop();
  await client.closed;
  assert.equal(device.log.open, 0);
  await assert.rejects(connectRaw(device, device.login), /ECONNREFUSED/);
});
