/** The agent's syslog listener, by real sockets: from a message to the backup of the device that changed. */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { join } from "node:path";
import fc from "fast-check";
import { AgentHint } from "@rookery/shared/api/agent_protocol.ts";
import { listChangeHints } from "@rookery/shared/api/change_hints.ts";
import { listJobs } from "@rookery/shared/api/jobs.ts";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { examine } from "../../agent/doctor/mod.ts";
import { AgentSettings } from "../../agent/settings.ts";
import { findChange } from "../../agent/syslog/find_change.ts";
import { FrameReader } from "../../agent/syslog/frames.ts";
import { SyslogListener } from "../../agent/syslog/listener.ts";
import { parseMessage } from "../../agent/syslog/parse_message.ts";
import { SyslogSettings } from "../../agent/syslog/settings.ts";
import { orderChanged } from "../../control-plane/change_hints/order_changed.ts";
import {
  addFarmDevice,
  backUpNow,
  enrolAgent,
  makeSite,
  startAgent,
  until,
  untilJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { clockOf } from "../support/fast_clock.ts";
import { freePort } from "../support/free_port.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { longestSilence } from "../support/silence.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const FLOOD = join(import.meta.dirname ?? ".", "../support/syslog_flood.ts");
const LOOPBACK = "127.0.0.0/8";
/** Its pauses between calls are for a real control plane; here nobody wants to wait for them. */
const clock = clockOf(10);
/** Not as fast: it also says how long a heartbeat may take. */
const AGENT_CLOCK = clockOf(4);

function syslogAt(port: number, more: Record<string, unknown> = {}) {
  return SyslogSettings.parse({ bind: "127.0.0.1", port, sources: [LOOPBACK], ...more });
}

function settingsWith(syslog: SyslogSettings): AgentSettings {
  return AgentSettings.parse({ policy: { networks: [LOOPBACK] }, syslog });
}

async function sendUdp(port: number, ...messages: (string | Uint8Array)[]): Promise<void> {
  const socket = createSocket("udp4");
  for (const message of messages) {
    await new Promise<void>((resolve, reject) =>
      socket.send(message, port, "127.0.0.1", (error) => error ? reject(error) : resolve())
    );
  }
  await new Promise<void>((resolve) => socket.close(() => resolve()));
}

async function sendTcp(port: number, ...pieces: (string | Uint8Array)[]): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const writer = connection.writable.getWriter();
  for (const piece of pieces) {
    await writer.write(typeof piece === "string" ? new TextEncoder().encode(piece) : piece);
  }
  await writer.close().catch(() => {});
}

/** A device of the farm, and an agent at its site that listens. */
async function setScene(more: Record<string, unknown> = {}) {
  const device = await startDevice(makeRecording("frr", 1));
  const siteId = await makeSite(plane);
  const deviceId = await addFarmDevice(plane, siteId, device);
  const enrolled = await enrolAgent(plane, [siteId]);
  const port = freePort();
  const settings = settingsWith(syslogAt(port, more));
  const running = await startAgent(plane, enrolled, { settings, clock: AGENT_CLOCK });
  await until(() => running.logged("syslog_listening"), "it listens");
  return {
    ...{ device, siteId, deviceId, enrolled, port, running },
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      await enrolled[Symbol.asyncDispose]();
      await device[Symbol.asyncDispose]();
    },
  };
}

async function hintsOf(siteId: SiteId) {
  const admin = await plane.administrator();
  return (await admin.call(listChangeHints, { params: { siteId } })).items;
}

async function untilHinted(siteId: SiteId, user: string) {
  await until(
    async () => (await hintsOf(siteId)).some(({ reports }) => reports.some((r) => r.user === user)),
    `${user} is told of`,
  );
}

/** A minute of quiet, without waiting for it. */
async function passQuietTime(siteId: SiteId): Promise<void> {
  await database.sql`
    update change_hints set first_at = first_at - interval '61 seconds',
      last_at = last_at - interval '61 seconds', due_at = due_at - interval '61 seconds'
    where site_id = ${siteId}`;
}

async function newestJob(deviceId: DeviceId) {
  const admin = await plane.administrator();
  return (await admin.call(listJobs, { query: { deviceId, limit: 1 } })).items[0];
}

Deno.test("the agent hears of a change by UDP and by TCP, and the device is backed up with who made it", async () => {
  await using scene = await setScene();
  const { siteId, deviceId, port } = scene;
  await sendUdp(
    port,
    "<189>7: *Nov 26 12:00:00: %SYS-5-CONFIG_I: Configured from console by ada on vty0",
  );
  await untilHinted(siteId, "ada");
  const octets =
    "<189>1 2026-11-26T12:00:00Z 127.0.0.1 mgd 1 UI_COMMIT - User 'bob' requested 'commit'";
  await sendTcp(port, `${octets.length} ${octets}<30>Nov 26 12:00:01 x rule changed by `, "eve\n");
  await untilHinted(siteId, "bob");
  await untilHinted(siteId, "eve");
  assert.equal(await orderChanged(database.db), 0, "it is not quiet yet");
  await passQuietTime(siteId);
  assert.equal(await orderChanged(database.db), 1);
  const job = await newestJob(deviceId);
  const done = await untilJob(plane, job?.id ?? assert.fail(), "completed", "failed", "dead");
  assert.equal(done.state, "completed", JSON.stringify([done, scene.running.log]));
  assert.deepEqual(
    done.cause?.reports.map(({ user, via, reporter }) => [user, via, reporter]).sort(),
    ["ada", "bob", "eve"].map((user) => [user, "agent", scene.enrolled.identity.name]),
  );
});

Deno.test("a backup of the agent's own is no change, and nothing listens where nothing is set up", async () => {
  const device = await startDevice(makeRecording("frr", 1));
  await using _device = device;
  const siteId = await makeSite(plane);
  const deviceId = await addFarmDevice(plane, siteId, device);
  await using enrolled = await enrolAgent(plane, [siteId]);
  await using running = await startAgent(plane, enrolled);
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  await untilJob(plane, jobId, "completed");
  assert.ok(!running.logged("syslog_listening"));
  assert.deepEqual(await hintsOf(siteId), []);
});

Deno.test("SyslogListener drops unread what comes from elsewhere, by UDP and by TCP", async () => {
  const port = freePort();
  await using heard = await listenAlone(
    syslogAt(port, { sources: ["192.0.2.0/24", "2001:db8::/32"] }),
  );
  const change = "<189>%SYS-5-CONFIG_I: Configured from console by mallory on vty0\n";
  await sendUdp(port, change, change);
  await sendTcp(port, change).catch(() => {});
  await until(() => heard.listener.status.refused === 3, "all three are refused");
  const { messages, changes } = heard.listener.status;
  assert.deepEqual([messages, changes, heard.calls.length], [0, 0, 0]);
});

Deno.test("SyslogListener goes on after bytes of any kind, huge messages and cut connections", async () => {
  const port = freePort();
  await using heard = await listenAlone(syslogAt(port, { perSecond: 10_000 }));
  const junk = fc.sample(fc.uint8Array({ maxLength: 300 }), { numRuns: 200, seed: 4 })
    .map((bytes) => new Uint8Array(bytes));
  await sendUdp(port, ...junk, new Uint8Array(65_000).fill(60), "");
  await sendTcp(port, ...junk).catch(() => {});
  await sendTcp(port, "9999999 ", new Uint8Array(300_000).fill(65)).catch(() => {});
  await sendTcp(port, "<189>", new Uint8Array(300_000).fill(65)).catch(() => {});
  for (let n = 0; n < 40; n++) (await Deno.connect({ hostname: "127.0.0.1", port })).close();
  await sendTcp(port, "<189>%SYS-5-CONFIG_I: Configured from console by ada on vty0");
  await until(() => heard.users().includes("ada"), "ada is told of");
  assert.equal(heard.log.filter(({ event }) => event === "syslog_not_listening").length, 0);
});

Deno.test("SyslogListener makes room for the newest connections of a source that leaves its old ones open", async () => {
  const port = freePort();
  await using heard = await listenAlone(syslogAt(port));
  const open = await Promise.all(
    Array.from({ length: 30 }, () => Deno.connect({ hostname: "127.0.0.1", port })),
  );
  try {
    await sendTcp(port, "<189>%SYS-5-CONFIG_I: Configured from console by ada on vty0\n");
    await until(() => heard.users().includes("ada"), "ada is told of");
  } finally {
    for (const connection of open) connection.close();
  }
});

Deno.test("SyslogListener drops hints while the control plane is away, says so once, and when it is heard again", async () => {
  await using scene = await setScene();
  const { siteId, port, running } = scene;
  running.wire.cut();
  for (let n = 0; n < 3; n++) {
    await sendUdp(port, `<189>%SYS-5-CONFIG_I: Configured from console by lost${n} on vty0`);
    await until(() => running.logged("hints_dropped"), "it is dropped");
  }
  running.wire.mend();
  await until(async () => {
    await sendUdp(port, "<189>%SYS-5-CONFIG_I: Configured from console by found on vty0");
    return (await hintsOf(siteId)).length > 0;
  }, "hints arrive again");
  await until(() => running.logged("hints_heard_again"), "it says so");
  assert.equal(running.log.filter(({ event }) => event === "hints_dropped").length, 1);
  const users = (await hintsOf(siteId)).flatMap(({ reports }) => reports.map(({ user }) => user));
  assert.ok(users.includes("found") && !users.includes("lost0"), users.join());
});

Deno.test("a flood of 10,000 messages a second holds up no session, and the agent keeps nothing of it", async () => {
  await using scene = await setScene({ perSecond: 200 });
  const { siteId, deviceId, port } = scene;
  const before = heldBytes();
  const flood = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-config", "--allow-net", FLOOD, String(port), "10000", "4"],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  await until(async () => (await hintsOf(siteId)).length > 0, "the flood is heard");
  let jobs = 0;
  const silence = await longestSilence(async () => {
    for (let n = 0; n < 2; n++) {
      const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
      await untilJob(plane, jobId, "completed");
      jobs++;
    }
  });
  const sent = Number(new TextDecoder().decode((await flood.output()).stdout));
  assert.equal(jobs, 2);
  assert.ok(sent > 10_000, `only ${sent} were sent`);
  // Whatever the machine is busy with: the listener's own thread must not be what holds this one up.
  assert.ok(silence < 1_500, `${silence} ms of silence`);
  const grownMb = (heldBytes() - before) / 1024 / 1024;
  assert.ok(grownMb < 150, `${grownMb} MB`);
  // Some are dropped for their rate, some for want of room; the control plane was told of few, and of one device.
  const [row] = await database.sql`
    select hints, jsonb_array_length(reports) as reports from change_hints where site_id = ${siteId}`;
  assert.ok(row?.hints <= 200 * 10, `${row?.hints}`);
  assert.ok(row?.reports <= 10);
});

Deno.test("findChange() and FrameReader take any bytes, and make nothing of them that the control plane refuses", () => {
  const words = [
    ...["%SYS-5-CONFIG_I: ", "Configured from ", " by ", "<189>", "1 ", "Nov 26 12:00:00 ", ": "],
    ...["UI_COMMIT", "User '", ",CONFIG,", "commit", "cfgpath=", 'user="', "ed by ", "changed by "],
    ...[
      "\u202e",
      "\0",
      "\n",
      "\ud800",
      "\ufeff",
      "CFGMAN/",
      "CFGMAN_CFGCHANGED -User=",
      "%%01CFM/4/",
    ],
  ];
  const text = fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ unit: "binary" })))
    .map((parts) => new TextEncoder().encode(parts.join("")));
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 3_000 }), text);
  fc.assert(
    fc.property(bytes, (message) => {
      const found = findChange(parseMessage(message));
      if (!found) return;
      const { host, user, text: told } = found;
      const hint = { address: "192.0.2.1", host, user, text: told, count: 1 };
      assert.deepEqual(AgentHint.parse(hint), hint);
    }),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(bytes, fc.integer({ min: 1, max: 50 }), (stream, octets) => {
      assert.deepEqual(framesOf(stream, octets), framesOf(stream, stream.length || 1));
    }),
    { numRuns: 100 },
  );
});

Deno.test("examine() tells whether the listener's port is free, taken, or not to be had", async () => {
  await using enrolled = await enrolAgent(plane, [await makeSite(plane)]);
  const port = freePort();
  const { path } = enrolled.state;
  const write = (syslog: unknown) =>
    Deno.writeTextFile(join(path, "settings.json"), JSON.stringify({ syslog }));
  const look = async () =>
    (await examine({ stateFolder: path })).findings.find(({ check }) => check === "syslog");
  await write({ bind: "127.0.0.1", port, sources: [LOOPBACK] });
  assert.equal((await look())?.verdict, "ok");
  using _taken = Deno.listen({ hostname: "127.0.0.1", port });
  const taken = await look();
  assert.equal(taken?.verdict, "failed");
  assert.match(`${taken?.seen} ${taken?.remedy}`, /cannot listen at 127.0.0.1:\d+ .*free port/);
});

/** Of this isolate alone; what the listener's own thread holds, `agent_program_test.ts` measures from outside. */
function heldBytes(): number {
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

function framesOf(stream: Uint8Array, octets: number): string[] {
  const frames = new FrameReader();
  const messages: Uint8Array[] = [];
  for (let from = 0; from < stream.length; from += octets) {
    messages.push(...frames.read(stream.subarray(from, from + octets)));
  }
  messages.push(...frames.end());
  return messages.map((message) => message.toHex());
}

/** The listener by itself; `calls` are what it would have told a control plane. */
async function listenAlone(settings: SyslogSettings) {
  const stop = new AbortController();
  const log: { event: string }[] = [];
  const calls: { hints: AgentHint[] }[] = [];
  const listener = new SyslogListener({
    settings,
    clock,
    log: (_level, event, fields) => log.push({ event, ...fields }),
    controlPlane: {
      call: ((_endpoint: unknown, { body }: { body: { hints: AgentHint[] } }) => {
        calls.push(body);
        return Promise.resolve({ devices: body.hints.length, unknown: [] });
      }) as never,
    },
    signal: stop.signal,
  });
  await until(() => log.some(({ event }) => event === "syslog_listening"), "it listens");
  return {
    ...{ listener, log, calls },
    users: () => calls.flatMap(({ hints }) => hints.map(({ user }) => user)),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await listener.finished;
    },
  };
}
