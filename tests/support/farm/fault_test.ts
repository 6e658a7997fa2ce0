import assert from "node:assert/strict";
import net from "node:net";
import type { Buffer } from "node:buffer";
import { type DeviceOptions, type FarmDevice, startDevice } from "./device.ts";
import { appliesTo, type Fault, FAULTS } from "./fault.ts";
import { DEFAULT_LOGIN } from "./login.ts";
import { PLATFORM_MANNERS } from "./platform.ts";
import { FARM_PLATFORMS, type FarmPlatform, makeRecording } from "./recording.ts";
import { connectRaw, type ExecResult, type RawClient, type RawShell } from "./ssh_client.ts";

const ENABLE_LOGIN = { ...DEFAULT_LOGIN, enableSecret: "farm-Enable.1" };

function startFaulty(
  fault: Fault,
  { platform = "linux", ...options }: DeviceOptions & { readonly platform?: FarmPlatform } = {},
): Promise<FarmDevice> {
  return startDevice(makeRecording(platform, 1), { ...options, fault });
}

function capture(client: RawClient, device: FarmDevice): Promise<ExecResult> {
  return client.exec(PLATFORM_MANNERS[device.platform].captureCommands[0] ?? "");
}

/** Opens IOS XE's shell with paging off. */
async function openQuiet(client: RawClient): Promise<RawShell> {
  const shell = await client.shell();
  await shell.until(/core-1#$/);
  shell.send("terminal length 0\n");
  await shell.until(/core-1#$/);
  return shell;
}

/** What a bare TCP client gets within a time, and whether the peer closed. */
async function listen(
  device: FarmDevice,
  milliseconds: number,
): Promise<{ readonly bytes: string; readonly closed: boolean }> {
  const socket = net.connect(device.port, device.host);
  let bytes = "";
  let closed = false;
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => bytes += chunk.toString("latin1"));
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    socket.on("close", () => {
      closed = true;
      clearTimeout(timer);
      resolve();
    });
  });
  socket.destroy();
  return { bytes, closed };
}

Deno.test("appliesTo() knows where each fault means something", () => {
  const everywhere = FARM_PLATFORMS.filter((platform) => appliesTo("binary", platform));
  assert.deepEqual(everywhere, [...FARM_PLATFORMS]);
  assert.deepEqual(FARM_PLATFORMS.filter((platform) => appliesTo("endless_pager", platform)), [
    "cisco_iosxe",
    "frr",
  ]);
  assert.deepEqual(FARM_PLATFORMS.filter((platform) => appliesTo("wrong_enable", platform)), [
    "cisco_iosxe",
  ]);
});

Deno.test("FarmDevice.setFault() refuses what a platform cannot have", async () => {
  await using device = await startDevice(makeRecording("linux", 1));
  await assert.rejects(device.setFault("wrong_enable"), /Cannot order wrong_enable of host-1/);
  await assert.rejects(device.setFault("refuse", { times: 1 }), /Cannot count refusals/);
});

Deno.test("FarmDevice.setFault() with times ends by itself", async () => {
  await using device = await startDevice(makeRecording("linux", 1));
  await device.setFault("reject_password", { times: 2 });
  await assert.rejects(connectRaw(device, device.login));
  await assert.rejects(connectRaw(device, device.login));
  await using client = await connectRaw(device, device.login);
  assert.equal((await capture(client, device)).stdout.toString(), device.configuration);
  assert.equal(device.fault, undefined);
});

Deno.test("refuse closes the port, and ending it opens the same one", async () => {
  await using device = await startFaulty("refuse");
  await assert.rejects(connectRaw(device, device.login), /ECONNREFUSED/);
  await device.setFault(undefined);
  await using _client = await connectRaw(device, device.login);
});

Deno.test("hang_before_banner, hang_after_banner and garbage stop a client before SSH", async () => {
  await using silent = await startFaulty("hang_before_banner");
  assert.deepEqual(await listen(silent, 150), { bytes: "", closed: false });
  await using mute = await startFaulty("hang_after_banner");
  const { bytes, closed } = await listen(mute, 150);
  assert.match(bytes, /^SSH-2\.0-OpenSSH_\S+ \S+\r\n$/);
  assert.equal(closed, false);
  await using noise = await startFaulty("garbage");
  const garbage = await listen(noise, 2_000);
  assert.equal(garbage.bytes.length, 4_096);
  assert.equal(/SSH-|\n/.test(garbage.bytes), false);
  assert.equal(garbage.closed, true);
});

Deno.test("garbage_after_login breaks the protocol of an open session", async () => {
  await using device = await startFaulty("garbage_after_login");
  await using client = await connectRaw(device, device.login);
  await assert.rejects(capture(client, device));
  assert.ok((await client.closed) instanceof Error);
});

Deno.test("changed_host_key shows another key, for the sessions it was ordered for", async () => {
  await using device = await startDevice(makeRecording("linux", 1));
  await device.setFault("changed_host_key", { times: 1 });
  await using client = await connectRaw(device, device.login);
  assert.notEqual(client.fingerprint, device.hostKey.fingerprint);
  await using again = await connectRaw(device, device.login);
  assert.equal(again.fingerprint, device.hostKey.fingerprint);
});

Deno.test("legacy_algorithms shuts modern clients out and lets old ones in", async () => {
  await using device = await startFaulty("legacy_algorithms");
  await assert.rejects(
    connectRaw(device, device.login, { algorithms: { kex: ["curve25519-sha256"] } }),
    /no matching key exchange algorithm/,
  );
  await using client = await connectRaw(device, device.login, {
    algorithms: {
      kex: ["diffie-hellman-group14-sha1"],
      serverHostKey: ["ssh-rsa"],
      cipher: ["aes128-cbc"],
      hmac: ["hmac-md5"],
    },
  });
  assert.equal((await capture(client, device)).status, 0);
});

Deno.test("reject_password and hang_in_login keep everybody out", async () => {
  await using strict = await startFaulty("reject_password");
  await assert.rejects(connectRaw(strict, strict.login), /authentication methods failed/);
  assert.ok(strict.log.logins.every((attempt) => !attempt.accepted));
  await using slow = await startFaulty("hang_in_login");
  await assert.rejects(
    connectRaw(slow, slow.login, { readyMilliseconds: 300 }),
    /Timed out while waiting for handshake/,
  );
  assert.ok(slow.log.logins.some(({ method }) => method === "password"));
});

Deno.test("password_expired asks in a shell and ends a command", async () => {
  await using host = await startFaulty("password_expired");
  await using client = await connectRaw(host, host.login);
  const { status, stderr, stdout } = await capture(client, host);
  assert.equal(status, 1);
  assert.match(stderr, /password expired[\s\S]*no TTY available/);
  assert.equal(stdout.length, 0);
  await using router = await startFaulty("password_expired", { platform: "frr" });
  await using other = await connectRaw(router, router.login);
  await (await other.shell()).until(/Current password: $/);
});

Deno.test("busy refuses the channel, busy_text says so in a shell and closes", async () => {
  await using host = await startFaulty("busy");
  await using client = await connectRaw(host, host.login);
  await assert.rejects(capture(client, host), /Channel open failure/);
  await using router = await startFaulty("busy_text", { platform: "cisco_iosxe" });
  await using other = await connectRaw(router, router.login);
  const shell = await other.shell();
  await shell.until(/% Connection limit exceeded/);
  await shell.ended;
});

Deno.test("wrong_enable refuses the right secret", async () => {
  await using device = await startFaulty("wrong_enable", {
    platform: "cisco_iosxe",
    login: ENABLE_LOGIN,
  });
  await using client = await connectRaw(device, device.login);
  const shell = await client.shell();
  await shell.until(/core-1>$/);
  shell.send("enable\nfarm-Enable.1\n");
  assert.match(await shell.until(/core-1>$/), /% Access denied/);
});

Deno.test("unknown_prompt matches no prompt of the platform", async () => {
  await using device = await startFaulty("unknown_prompt", { platform: "cisco_iosxe" });
  await using client = await connectRaw(device, device.login);
  assert.match(await (await client.shell()).until(/\?\? $/), /\r\n\[ready\] \?\? $/);
});

Deno.test("syslog_noise breaks the echo of the capture command in two", async () => {
  await using device = await startFaulty("syslog_noise", { platform: "cisco_iosxe" });
  await using client = await connectRaw(device, device.login);
  const shell = await openQuiet(client);
  shell.send("show running-config\n");
  const text = await shell.until(/end\r\n\r\ncore-1#$/);
  assert.match(text, /^show runn\r\n\*Jan .*%SYS-5-CONFIG_I.*\r\ning-config\r\nBuilding/);
});

for (const platform of FARM_PLATFORMS) {
  Deno.test(`command_rejected and empty_configuration on ${platform}`, async () => {
    await using device = await startFaulty("command_rejected", { platform });
    await using client = await connectRaw(device, device.login);
    const refused = await readCapture(client, device);
    assert.match(refused.text, /Invalid input|unknown command|Unknown command|not found/);
    assert.equal(refused.status === 0, false);
    await device.setFault("empty_configuration");
    await using again = await connectRaw(device, device.login);
    const empty = await readCapture(again, device);
    assert.equal(empty.text, "");
    assert.equal(device.sent.length, 0);
  });
}

/** Runs the capture command over the platform's transport, up to the next prompt or the end. */
async function readCapture(
  client: RawClient,
  device: FarmDevice,
): Promise<{ readonly text: string; readonly status: number | undefined }> {
  if (PLATFORM_MANNERS[device.platform].transport === "exec") {
    const { stdout, stderr, status } = await capture(client, device);
    return { text: stdout.toString() + stderr, status };
  }
  const shell = await client.shell();
  const prompt = new RegExp(`${device.hostname}# ?$`);
  await shell.until(prompt);
  for (const command of ["terminal length 0", "show running-config"]) shell.send(`${command}\n`);
  await shell.until(/show running-config\r\n/);
  const text = (await shell.until(prompt)).replaceAll("\r\n", "\n");
  // readline's sequences of vtysh are no text
  const shown = text.replaceAll("\x1b[?2004l\r", "").replaceAll("\x1b[?2004h", "");
  return { text: shown.replace(prompt, ""), status: undefined };
}

Deno.test("die_mid_configuration resets the connection after half", async () => {
  await using device = await startFaulty("die_mid_configuration", { platform: "cisco_iosxe" });
  await using client = await connectRaw(device, device.login);
  const shell = await openQuiet(client);
  shell.send("show running-config\n");
  assert.match(String(await client.closed), /ECONNRESET/);
  assert.ok(shell.seen.includes("Current configuration"));
  assert.equal(shell.seen.includes("\r\nend\r\n"), false);
});

for (const platform of ["juniper_junos", "linux"] as const) {
  Deno.test(`close_mid_configuration ends ${platform} with status 0 after half`, async () => {
    await using device = await startFaulty("close_mid_configuration", { platform });
    await using client = await connectRaw(device, device.login);
    const { stdout, status } = await capture(client, device);
    const text = stdout.toString();
    assert.equal(status, 0);
    const body = text.replace(/^## Last commit: .*\n/, "");
    assert.ok(device.text.startsWith(body));
    assert.ok(body.length > device.text.length / 3 && body.length < device.text.length);
    assert.equal(device.sent.length, 0);
  });
}

Deno.test("stall_mid_configuration goes silent after half and keeps the connection", async () => {
  await using device = await startFaulty("stall_mid_configuration", { platform: "cisco_iosxe" });
  await using client = await connectRaw(device, device.login);
  const shell = await openQuiet(client);
  shell.send("show running-config\n");
  await assert.rejects(shell.until(/\nend\r\n/, { milliseconds: 300 }), /never came/);
  assert.equal(device.log.open, 1);
});

Deno.test("prompt_mid_configuration pauses on a prompt, then sends the rest", async () => {
  await using device = await startFaulty("prompt_mid_configuration", { platform: "cisco_iosxe" });
  await using client = await connectRaw(device, device.login);
  const shell = await openQuiet(client);
  shell.send("show running-config\n");
  const first = await shell.until(/\r\ncore-1#$/);
  assert.equal(/\r\nend\r\n/.test(first), false);
  await shell.until(/\r\nend\r\n\r\ncore-1#$/);
});

Deno.test("stop_at_prompt_mid_configuration loses the second half, and the session goes on", async () => {
  await using device = await startFaulty("stop_at_prompt_mid_configuration", {
    platform: "cisco_iosxe",
  });
  await using client = await connectRaw(device, device.login);
  const { text } = await readCapture(client, device);
  assert.match(text, /^Building configuration/);
  assert.equal(/^end$/m.test(text), false);
  const shell = await openQuiet(client);
  shell.send("show version\n");
  await shell.until(/Version 17[\s\S]*core-1#$/);
});

Deno.test("prompt_lookalikes sends all of a configuration with lines like the prompt", async () => {
  await using device = await startFaulty("prompt_lookalikes", { platform: "cisco_iosxe" });
  await using client = await connectRaw(device, device.login);
  const shell = await openQuiet(client);
  shell.send("show running-config\n");
  const text = await shell.until(/\r\nend\r\n\r\ncore-1#$/);
  assert.equal(text.match(/\r\ncore-1# ?\r\n/g)?.length, 2);
  assert.ok(text.replaceAll("\r\n", "\n").includes(device.sent[0] ?? "nothing was sent"));
});

Deno.test("endless_pager never reaches the end, whatever is answered", async () => {
  await using device = await startFaulty("endless_pager", { platform: "cisco_iosxe" });
  await using client = await connectRaw(device, device.login);
  const shell = await openQuiet(client);
  shell.send("show running-config\n");
  for (const key of " q \r ".repeat(12)) {
    await shell.until(/ --More-- $/);
    shell.send(key);
  }
  assert.ok((shell.seen.match(/Building configuration/g)?.length ?? 0) > 1);
});

Deno.test("slow_drip completes although it comes a few bytes at a time", async () => {
  await using device = await startFaulty("slow_drip");
  await using client = await connectRaw(device, device.login);
  const startedAt = performance.now();
  const { stdout } = await capture(client, device);
  assert.equal(stdout.toString(), device.configuration);
  assert.ok(performance.now() - startedAt > 500);
});

Deno.test("binary puts NUL bytes into the configuration", async () => {
  await using device = await startFaulty("binary");
  await using client = await connectRaw(device, device.login);
  const { stdout } = await capture(client, device);
  assert.ok(stdout.includes(0));
  assert.match(stdout.toString(), /### end\n$/);
});

Deno.test("huge streams 50 MB and ends in good order", async () => {
  await using device = await startFaulty("huge");
  await using client = await connectRaw(device, device.login);
  const { stdout, status } = await capture(client, device);
  assert.ok(stdout.length > 50 * 1024 * 1024);
  assert.equal(stdout.subarray(-8).toString(), "### end\n");
  assert.equal(status, 0);
});

for (const platform of FARM_PLATFORMS) {
  Deno.test(`error_text_in_configuration and shrunk are complete on ${platform}`, async () => {
    await using device = await startFaulty("error_text_in_configuration", { platform });
    const whole = device.configuration;
    await using client = await connectRaw(device, device.login);
    const { text } = await readCapture(client, device);
    assert.match(text, /% Invalid input detected at '\^' marker/);
    assert.equal(text, device.configuration);
    await device.setFault("shrunk");
    await using again = await connectRaw(device, device.login);
    const shrunk = (await readCapture(again, device)).text;
    assert.ok(shrunk.length < whole.length / 2 && shrunk.length > 150);
    assert.equal(shrunk.trimEnd().split("\n").at(-1), whole.trimEnd().split("\n").at(-1));
  });
}

Deno.test("every fault has a sentence that ends with a full stop", () => {
  for (const [, sentence] of Object.values(FAULTS)) assert.match(sentence, /^[A-Z].*\.$/);
});
