import assert from "node:assert/strict";
import { startFarm } from "./farm.ts";
import { PLATFORM_MANNERS } from "./platform.ts";
import { connectRaw } from "./ssh_client.ts";
import { TextLineStream } from "./text_lines.ts";
import { DRIVERS } from "@rookery/shared/drivers/mod.ts";
import { FARM_PLATFORMS, makeRecording } from "./recording.ts";

Deno.test("startFarm() starts 250 devices in 3 seconds, each with its own key and port", async () => {
  const startedAt = performance.now();
  await using farm = await startFarm({ devices: 250, seed: 3 });
  assert.ok(performance.now() - startedAt < 3_000, `took ${performance.now() - startedAt} ms`);
  assert.equal(new Set(farm.devices.map(({ port }) => port)).size, 250);
  assert.equal(new Set(farm.devices.map(({ hostKey }) => hostKey.fingerprint)).size, 250);
  const device = farm.devices.find(({ platform }) => platform === "juniper_junos");
  assert.ok(device);
  await using client = await connectRaw(device, device.login);
  const { stdout } = await client.exec(PLATFORM_MANNERS.juniper_junos.captureCommands[0] ?? "");
  assert.equal(stdout.toString(), device.configuration);
});

Deno.test("startFarm() gives out every fault once, and refuses more than fit", async () => {
  const faults = ["refuse", "reject_password", "wrong_enable", "endless_pager"] as const;
  await using farm = await startFarm({ devices: 8, seed: 2, faults });
  const given = farm.devices.flatMap(({ fault }) => fault ? [fault] : []);
  assert.deepEqual(given.toSorted(), faults.toSorted());
  const faulty = farm.devices.find(({ fault }) => fault === "wrong_enable");
  const sound = farm.devices.find(({ fault, platform }) => !fault && platform === "cisco_iosxe");
  assert.notEqual(faulty?.login.password, sound?.login.password);
  const two = { devices: 4, faults: ["wrong_enable", "wrong_enable"] } as const;
  await assert.rejects(startFarm(two), /Cannot place wrong_enable/);
});

for (const platform of FARM_PLATFORMS) {
  Deno.test(`makeRecording() plants only secrets that the ${platform} driver finds`, () => {
    const recording = makeRecording(platform, 11, { interfaces: 60 });
    assert.deepEqual(makeRecording(platform, 11, { interfaces: 60 }), recording);
    assert.ok(recording.secrets.length >= 4);
    const rules = (DRIVERS.get(platform)?.secrets ?? [])
      .flatMap((rule) => "line" in rule ? [new RegExp(rule.line)] : []);
    const redacted = recording.configuration.split("\n").map((line) =>
      rules.reduce((text, rule) => {
        const secret = rule.exec(text)?.groups?.secret;
        return secret === undefined ? text : text.replaceAll(secret, "<secret>");
      }, line)
    ).join("\n");
    for (const secret of recording.secrets) {
      assert.ok(recording.configuration.includes(secret));
      assert.equal(redacted.includes(secret), false, `${secret} is not found`);
    }
  });

  Deno.test(`makeRecording() makes ${platform} configurations up to 100 KB that its driver accepts`, () => {
    const { configuration } = makeRecording(platform, 12, { interfaces: 900 });
    assert.ok(configuration.length > 60_000 && configuration.length < 250_000);
    const capture = DRIVERS.get(platform)?.captures[0];
    assert.ok(capture);
    const lines = PLATFORM_MANNERS[platform].render(configuration, 0).split("\n");
    for (const section of capture.minimum.sections) {
      assert.ok(lines.some((line) => new RegExp(section).test(line)), section);
    }
  });
}

Deno.test("farm_process prints its devices, obeys orders, and ends with its input", async () => {
  const script = new URL("./farm_process.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", script, "--devices", "4", "--faults", "busy"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  const lines = child.stdout.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  async function order(value: unknown) {
    await writer.write(new TextEncoder().encode(`${JSON.stringify(value)}\n`));
    return JSON.parse((await lines.read()).value ?? "null");
  }
  const { devices } = JSON.parse((await lines.read()).value ?? "null");
  assert.equal(devices.length, 4);
  const linux = devices.find(({ platform }: { platform: string }) => platform === "linux");
  const text = "### /etc/hostname\nnew\n\n### end\n";
  assert.deepEqual(await order({ order: "set_configuration", port: linux.port, text }), {
    ok: true,
  });
  assert.deepEqual(await order({ order: "set_fault", port: linux.port, fault: null }), {
    ok: true,
  });
  await using client = await connectRaw(linux, linux.login);
  const { stdout } = await client.exec(PLATFORM_MANNERS.linux.captureCommands[0] ?? "");
  assert.equal(stdout.toString(), text);
  assert.equal((await order({ order: "set_fault", port: linux.port, fault: "nap" })).ok, false);
  assert.equal((await order({ order: "show", port: linux.port })).configuration, text);
  await writer.close();
  assert.equal((await child.status).code, 0);
  assert.equal((await lines.read()).done, true);
});
