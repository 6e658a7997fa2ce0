import assert from "node:assert/strict";
import { z } from "zod";
import { Driver } from "@rookery/shared/drivers/driver.ts";
import { commandsOf, DRIVERS } from "@rookery/shared/drivers/mod.ts";
import { redact } from "@rookery/shared/drivers/redact.ts";
import { decodeText } from "@rookery/shared/drivers/decode.ts";
import { DeviceFacts } from "@rookery/shared/jobs/backup_config.ts";
import { backUpDevice } from "../../agent/session/back_up.ts";
import { startDevice } from "../support/farm/device.ts";
import { DEFAULT_LOGIN } from "../support/farm/login.ts";
import { FARM_PLATFORMS, type Recording } from "../support/farm/recording.ts";
import { orderFor } from "../support/session_order.ts";

/**
 * A recording is a folder `tests/drivers/<platform>/<name>/` with `recording.json`, `running.cfg` (what the
 * capture's command shows, without the lines that the device makes up at each call) and `redacted.cfg` (the
 * same after redaction, with "tag" for every tag).
 */
const RecordingFile = z.strictObject({
  /** Invented: it proves properties of the engine and of the rules, and is no evidence for the platform. */
  synthetic: z.boolean(),
  source: z.string().min(10),
  hostname: z.string(),
  banner: z.string(),
  /** Prompts by mode; each must match the pattern of that mode and of no other. */
  prompts: z.record(z.string(), z.array(z.string()).min(1)),
  /** Last lines of configurations and greetings that no mode may take for its prompt. */
  notPrompts: z.array(z.string()).min(1),
  outputs: z.record(z.string(), z.string()),
  secrets: z.array(z.string()).min(1),
  facts: DeviceFacts,
});

interface Case {
  readonly name: string;
  readonly file: z.infer<typeof RecordingFile>;
  readonly running: string;
  readonly redacted: string;
}

function readRecordings(platform: string): readonly Case[] {
  const folder = new URL(`./${platform}/`, import.meta.url);
  return [...Deno.readDirSync(folder)].filter(({ isDirectory }) => isDirectory).map(({ name }) => {
    const read = (file: string) => Deno.readTextFileSync(new URL(`${name}/${file}`, folder));
    const file = RecordingFile.parse(JSON.parse(read("recording.json")));
    return { name, file, running: read("running.cfg"), redacted: read("redacted.cfg") };
  });
}

/** Words with which a line that only reads begins; a driver that sends anything else needs a reason here. */
const READING = /^(?:show|display|get|cat|uname|terminal (?:length|width) \d+$|enable$|exit$|for f in )/;

for (const driver of DRIVERS.values()) {
  const { platform } = driver;
  Deno.test(`driver ${platform} is plain data of the vocabulary`, () => {
    const stored: unknown = JSON.parse(JSON.stringify(driver));
    assert.deepEqual(Driver.parse(stored), driver);
  });

  Deno.test(`driver ${platform} sends nothing that changes a device`, () => {
    for (const command of commandsOf(driver, [])) assert.match(command, READING);
    for (const { commands } of driver.captures) {
      for (const command of commands) assert.doesNotMatch(command, /[>]|\btee\b|\bsudo\b/);
    }
  });

  Deno.test(`driver ${platform} has a recording whose prompts match one mode each`, () => {
    const recordings = readRecordings(platform);
    assert.ok(recordings.length > 0, `tests/drivers/${platform}/ holds no recording`);
    for (const { file } of recordings) {
      assert.deepEqual(Object.keys(file.prompts).sort(), Object.keys(driver.modes).sort());
      const modesOf = (line: string) =>
        Object.keys(driver.modes).filter((mode) =>
          new RegExp(driver.modes[mode]?.prompt ?? "").test(line)
        );
      for (const [mode, prompts] of Object.entries(file.prompts)) {
        for (const prompt of prompts) assert.deepEqual(modesOf(prompt), [mode], prompt);
      }
      for (const line of file.notPrompts) assert.deepEqual(modesOf(line), [], line);
      if (driver.evidence.kind === "real_recording") {
        assert.ok(recordings.some((recording) => !recording.file.synthetic));
      }
    }
  });

  for (const { name, file, running, redacted } of readRecordings(platform)) {
    Deno.test(`driver ${platform} reads, redacts and understands ${name}`, async () => {
      await using device = await startDevice(recordingOf(platform, { file, running }), {
        login: { ...DEFAULT_LOGIN, enableSecret: "farm-Enable.1" },
      });
      const { signal } = new AbortController();
      const { captures, facts } = await backUpDevice(orderFor(device), { signal });
      const text = decodeText(captures[0]?.raw ?? new Uint8Array()).text;
      assert.equal(text, device.sent.at(-1));
      assert.deepEqual(facts, file.facts);
      const shown = await redact(driver, running, { tagOf: () => "tag" });
      assert.equal(shown, redacted);
      for (const secret of file.secrets) {
        assert.ok(running.includes(secret), "the secret stands in the configuration");
        assert.ok(!shown.includes(secret), `${secret} was not redacted`);
      }
    });
  }
}

function recordingOf(
  platform: string,
  { file, running }: Pick<Case, "file" | "running">,
): Recording {
  const known = FARM_PLATFORMS.find((candidate) => candidate === platform);
  assert.ok(known, `the farm cannot play ${platform}`);
  const { hostname, banner, secrets } = file;
  const outputs = new Map(Object.entries(file.outputs));
  return { platform: known, hostname, banner, configuration: running, outputs, secrets };
}
