/** What a driver that came over the network may send: the lists refuse whatever they do not know. */
import assert from "node:assert/strict";
import { driver, type DriverSource } from "@rookery/shared/drivers/driver.ts";
import { DRIVERS } from "@rookery/shared/drivers/mod.ts";
import fc from "fast-check";
import { whyNotReadOnly } from "../../agent/read_only_commands.ts";
import { isPlainRead } from "@rookery/shared/drivers/read_only.ts";

const PLAIN: DriverSource = {
  platform: "test",
  label: "Test",
  evidence: { kind: "unverified" },
  transport: "shell",
  modes: {
    user: { prompt: /^>$/ },
    enable: { prompt: /^#$/, entries: [{ from: "user", send: "enable" }] },
  },
  captureMode: "enable",
  captures: [{
    name: "running",
    commands: ["show running-config"],
    end: { grade: "prompt" },
    minimum: { lines: 1 },
  }],
  restore: "None.",
};

function why(changes: Partial<DriverSource>): string {
  return whyNotReadOnly(driver({ ...PLAIN, ...changes })) ?? "";
}

function capture(...commands: string[]): Partial<DriverSource> {
  return { captures: PLAIN.captures.map((one) => ({ ...one, commands })) };
}

Deno.test("whyNotReadOnly() lets every driver through that ships", () => {
  for (const one of DRIVERS.values()) assert.equal(whyNotReadOnly(one), undefined);
  const commands = [...DRIVERS.values()].filter(({ platform }) => platform !== "linux")
    .flatMap(({ captures, facts }) => [
      ...captures.flatMap((one) => one.commands),
      ...facts.map(({ command }) => command),
    ]);
  assert.deepEqual(commands.filter((command) => !isPlainRead(command)), []);
});

Deno.test("whyNotReadOnly() lets what other platforms need through", () => {
  const reads = [
    "show running-config view full",
    "display current-configuration",
    "get system status",
    "show | grep .",
    "more system:running-config",
    "cat /etc/os-release",
    "admin display-config",
    "/export show-sensitive",
    "show configuration | display set",
  ];
  for (const command of reads) assert.equal(why(capture(command)), "", command);
  const opening = ["no page", "screen-length 0 temporary", "set cli screen-length 0"];
  assert.equal(why({ opening: opening.map((send) => ({ send })) }), "");
  assert.equal(why({ logout: ["logout", "n"] }), "");
});

Deno.test("whyNotReadOnly() refuses a capture that is more than one that reads", () => {
  const commands = [
    "configure terminal",
    "write memory",
    "reload",
    "copy running-config tftp://192.0.2.1/x",
    "show running-config; reload",
    "show running-config | redirect tftp://192.0.2.1/x",
    "show running-config | tee flash:x",
    "show running-config | save x",
    "show running-config > flash:x",
    "show running-config && reboot",
    "show `reboot`",
    "show $(reboot)",
    "show ${IFS}",
    "show 'a",
    "show tech-support file x",
    "showreboot",
    "SHOW running-config",
    " show running-config",
    "show  running-config",
    "show running-config ",
    "show\tversion",
    "show version\u0003reload",
    "show version\u2028reload",
    "show version?",
    "show version | display omit | display set",
    "cat /etc/shadow > /tmp/x",
    "cat x",
    "cat /dev/watchdog",
    "cat /etc/../dev/watchdog",
    "/export file=x",
    "/system reset-configuration",
    "sh -c reboot",
    "more system:running-config x",
  ];
  for (const command of commands) assert.match(why(capture(command)), /it sends/, command);
  assert.match(why(capture("show version", "erase startup")), /erase startup/);
});

Deno.test("whyNotReadOnly() lets no sign through that could begin a second command", () => {
  const signs = fc.constantFrom(
    ..."`$&|;<>(){}[]'\"\\!#?*%^~=+,:\t\u0000\u0003\u001b\u0085\u2029é",
  );
  const words = fc.constantFrom("", "version", "version ", " version", "a b");
  fc.assert(
    fc.property(words, signs, words, (before, sign, after) => {
      assert.equal(isPlainRead(`show ${before}${sign}${after}`), false);
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("whyNotReadOnly() refuses what else could be typed at a device", () => {
  const why10 = "a reason that is long enough";
  const mode = (entry: Record<string, unknown>) => ({
    modes: {
      ...PLAIN.modes,
      enable: { prompt: /^#$/, entries: [{ from: "user", send: "enable", ...entry }] },
    },
  });
  const cases: readonly (readonly [Partial<DriverSource>, RegExp])[] = [
    [{ opening: [{ send: "config paging disable" }] }, /opening line/],
    [{ opening: [{ send: "show version" }] }, /opening line/],
    [{ logout: ["write"] }, /log out/],
    [{ logout: ["logout", "y"] }, /log out/],
    [mode({ send: "configure" }), /way to a mode/],
    [mode({ send: "start shell" }), /way to a mode/],
    // The user name is chosen by the control plane: at a prompt it would be a command.
    [mode({ question: /#$/, answer: "username" }), /types a secret/],
    [{ pagers: [{ pattern: "More", answer: "reset" }] }, /answers a pager/],
    [{ dialogues: [{ pattern: "save", answer: "y\n", why: why10 }] }, /answers a question/],
    [
      { dialogues: [{ pattern: "save", answer: "no\nreload\n", why: why10 }] },
      /answers a question/,
    ],
    [{ terminal: { term: "vt100;reboot", columns: 80, rows: 24 } }, /terminal/],
    [
      { facts: [{ command: "reload", fields: [{ name: "model", pattern: "(x)" }] }] },
      /command for facts/,
    ],
  ];
  for (const [changes, reason] of cases) assert.match(why(changes), reason);
});
