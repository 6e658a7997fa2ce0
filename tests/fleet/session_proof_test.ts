import assert from "node:assert/strict";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import { backUpDevice, type BackupOrder } from "../../agent/session/back_up.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { type Answer, type Script, startScriptedShell } from "../support/scripted_shell.ts";
import { orderFor } from "../support/session_order.ts";

const { signal } = new AbortController();
const PROMPT = "R1#";
const HEAD = "Building configuration...\r\n\r\nCurrent configuration : 999 bytes\r\n!\r\n" +
  "version 17.9\r\nhostname R1\r\n!\r\n";
const TAIL = "interface Loopback0\r\n ip address 192.0.2.1 255.255.255.255\r\n!\r\nend\r\n\r\n";

/** A router that shows these answers, one after the other, to "show running-config". */
function router(...answers: readonly Answer[]): Script {
  const show = "show running-config";
  const silent = (command: string) => ({ [`${command}\n`]: `${command}\r\n${PROMPT}` });
  return {
    "": PROMPT,
    "\n": `\r\n${PROMPT}`,
    " ": "",
    ...silent("terminal length 0"),
    ...silent("terminal width 512"),
    ...silent("show version"),
    [`${show}\n`]: (times) => {
      const answer = answers[Math.min(times, answers.length - 1)] ?? "";
      const pieces = typeof answer === "string" ? [answer] : answer;
      return [`${show}\r\n`, ...pieces, PROMPT];
    },
  };
}

function orderOf(port: number): BackupOrder {
  const driver = findDriver("cisco_iosxe") ?? assert.fail();
  return {
    kind: "backup_config",
    driver,
    target: { host: "127.0.0.1", port },
    credential: { username: "netops", password: "p" },
    hostKeyPolicy: "first_use",
    hostKeys: [],
    legacyAlgorithms: false,
    limits: {
      connectSeconds: 2,
      idleSeconds: 3,
      totalSeconds: 30,
      maxBytes: 1_000_000,
      shrinkPercent: 50,
    },
    captures: [],
    baselines: {},
  };
}

async function textOf(...answers: readonly Answer[]): Promise<string> {
  await using shell = await startScriptedShell(router(...answers));
  const { captures } = await backUpDevice(orderOf(shell.port), { signal });
  return new TextDecoder().decode(captures[0]?.raw);
}

const WHOLE = (HEAD + TAIL).replaceAll("\r", "");

Deno.test("an end marker and a prompt in a banner, and a pause behind them, end no configuration", async () => {
  const banner = [`${HEAD}banner motd ^C\r\nend\r\n${PROMPT}`, 300, `\r\n^C\r\n!\r\n${TAIL}`];
  await assert.rejects(textOf(banner), { code: "configuration_interleaved" });
  assert.equal(await textOf(banner, HEAD + TAIL), WHOLE);
});

Deno.test("a log message in the middle or behind the end makes the session read again", async () => {
  const log = "*Mar  1 00:01:02.345: %LINK-3-UPDOWN: Interface Gi0/1, changed state to up\r\n";
  for (const noisy of [`${HEAD} ip addr${log}ess 10.0.0.2\r\n${TAIL}`, `${HEAD}${TAIL}${log}`]) {
    assert.equal(await textOf(noisy, HEAD + TAIL), WHOLE);
    await assert.rejects(textOf(noisy), { code: "configuration_interleaved" });
  }
  const applet = ' event syslog pattern "%LINK-3-UPDOWN: Interface Gi0/1"\r\n';
  assert.equal(await textOf(HEAD + applet + TAIL), (HEAD + applet + TAIL).replaceAll("\r", ""));
});

Deno.test("a message of the device in the middle is no configuration", async () => {
  const full = `${HEAD}% Configuration buffer full, can't add command\r\n${TAIL}`;
  await assert.rejects(textOf(full), { code: "transient_text" });
});

Deno.test("a line that looked like a pager is not taken out of a configuration", async () => {
  const whole = `${HEAD}banner motd ^C\r\n--More-- is not the end\r\n^C\r\n${TAIL}`;
  const paused = [
    `${HEAD}banner motd ^C\r\n--More--`,
    300,
    ` is not the end\r\n^C\r\n${TAIL}`,
  ];
  await assert.rejects(textOf(paused, whole), { code: "configuration_unstable" });
  assert.equal(await textOf(whole), whole.replaceAll("\r", ""));
});

Deno.test("a configuration that came through a pager is read twice", async () => {
  await using device = await startDevice(makeRecording("cisco_iosxe", 41), { stickyPager: true });
  const { captures } = await backUpDevice(orderFor(device), { signal });
  assert.equal(device.sent.length, 2);
  assert.equal(new TextDecoder().decode(captures[0]?.raw), device.sent.at(-1));
});
