/** The fence of a real agent whose session thread hears nothing: a device that blocks it wins no time by that. */
import assert from "node:assert/strict";
import { listRevisions } from "@rookery/shared/api/backups.ts";
import { driver } from "@rookery/shared/drivers/driver.ts";
import { DriverSet } from "@rookery/shared/drivers/driver_set.ts";
import { frr } from "@rookery/shared/drivers/frr.ts";
import type { JobId } from "@rookery/shared/ids.ts";
import { systemClock } from "../../agent/clock.ts";
import { AgentSettings } from "../../agent/settings.ts";
import {
  addDevice,
  addFarmDevice,
  backUpNow,
  enrolAgent,
  makeSite,
  readJob,
  startAgent,
  until,
  untilJob,
} from "../support/agent_bench.ts";
import { blockingText, SLOW_PATTERN } from "../support/blocking_text.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { startDevice } from "../support/farm/device.ts";
import type { Login } from "../support/farm/login.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { clockOf } from "../support/fast_clock.ts";
import { findSecret, readFolder } from "../support/haystacks.ts";
import { startRelay } from "../support/relay.ts";
import { STANDING } from "../support/standing_thread.ts";

/** Its first fact keeps a thread busy for as long as the device's answer is; the second one would be asked for after it. */
const slowFrr = driver({
  ...frr,
  facts: [
    { command: "show version", fields: [{ name: "model", pattern: new RegExp(SLOW_PATTERN) }] },
    { command: "show hostname", fields: [{ name: "hostname", pattern: /^(\S+)$/ }] },
  ],
});

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, {
  publicUrl: "https://rookery.test",
  drivers: new DriverSet([slowFrr]),
});

const LEASE_SECONDS = 30;
const PASSWORD = "Only-one-thread-may-know-this";
const LOCAL = { networks: ["127.0.0.0/8"], fetchedDrivers: true };
/** How long the answer blocks, in time of a processor: well beyond the second in which a fenced agent ends its threads. */
const BLOCKED_MS = 3_000;
/** Nothing else in a session takes a thread as long. */
const BUSY_MS = 700;
const TASKS = "/proc/self/task";
const TICK_MS = 10;

/** Goes as usual until it is told that some time has passed. */
function leapingClock() {
  let leapt = 0;
  return {
    now: () => performance.now() + leapt,
    sleep: systemClock.sleep,
    leap: (ms: number) => leapt += ms,
  };
}

/** The workers of this process as the kernel sees them: what one of them knew is gone when it is. */
function workerThreads(): string[] {
  return [...Deno.readDirSync(TASKS)].map(({ name }) => name)
    .filter((thread) => statOf(thread).includes("(worker-"));
}

/** Empty when there is no such thread any more. */
function statOf(thread: string): string {
  try {
    return Deno.readTextFileSync(`${TASKS}/${thread}/stat`);
  } catch {
    return "";
  }
}

/** How long a thread has run, in its own code. */
function runMs(thread: string): number {
  // After the name in brackets; utime is field 14 of proc_pid_stat(5).
  const ticks = statOf(thread).replace(/^.*\) /, "").split(" ")[11];
  return Number(ticks) * TICK_MS;
}

/** A device that blocks whoever reads its version; its answers can be made harmless. */
async function startBlocker() {
  const recording = makeRecording("frr", 1);
  const outputs = new Map(recording.outputs).set("show version", blockingText(BLOCKED_MS));
  const login: Login = { username: "netops", methods: ["password"], password: PASSWORD };
  const device = await startDevice({ ...recording, outputs }, { login });
  const relay = startRelay({ hostname: device.host, port: device.port });
  return {
    device,
    relay,
    /** As the agent is to reach it. */
    seen: { host: device.host, port: relay.port, platform: device.platform, login },
    calm: () => outputs.set("show version", "FRRouting 10.2\n"),
    async [Symbol.asyncDispose]() {
      await relay[Symbol.asyncDispose]();
      await device.stop();
    },
  };
}

async function setScene() {
  const blocker = await startBlocker();
  const siteId = await makeSite(plane, { leaseTtlSeconds: LEASE_SECONDS });
  const deviceId = await addFarmDevice(plane, siteId, blocker.seen);
  const enrolled = await enrolAgent(plane, [siteId]);
  const clock = leapingClock();
  const before = workerThreads();
  const settings = AgentSettings.parse({ policy: LOCAL });
  const running = await startAgent(plane, enrolled, { clock, settings });
  return {
    ...{ blocker, siteId, deviceId, enrolled, clock, running },
    /** Threads that sessions run in. */
    sessionThreads: () => workerThreads().filter((name) => !before.includes(name)),
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      await enrolled[Symbol.asyncDispose]();
      await blocker[Symbol.asyncDispose]();
    },
  };
}

type Scene = Awaited<ReturnType<typeof setScene>>;

/** Orders a backup and waits until its thread is blocked. */
async function startBlocked({ blocker, deviceId, sessionThreads }: Scene) {
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  const { commands } = blocker.device.log;
  await until(() => commands.includes("show version"), "the device is asked for its version");
  return { jobId, thread: await untilOneIsBusy(sessionThreads()) };
}

/** Files that are tested in the same process start threads as well: it is the one that the answer keeps busy. */
async function untilOneIsBusy(threads: readonly string[]): Promise<string> {
  const before = new Map(threads.map((thread) => [thread, runMs(thread)]));
  const busy = () => threads.find((thread) => runMs(thread) > (before.get(thread) ?? 0) + BUSY_MS);
  await until(() => busy() !== undefined, "a thread is busy with the answer");
  return busy() ?? assert.fail();
}

/** Cuts the agent off for longer than its lease lasts. */
async function fence({ running, clock }: Scene) {
  running.wire.cut();
  clock.leap(LEASE_SECONDS * 1_000);
  await until(() => running.logged("fenced"), "the agent is fenced");
}

/** Leases that were granted long enough ago for a heartbeat that does not name them to give them back. */
async function ageGrants(jobId: JobId): Promise<void> {
  await database.sql`
    update leases set granted_at = granted_at - interval '61 seconds' where job_id = ${jobId}`;
  // What was given back is due again after a delay that no test waits for.
  await until(async () => {
    const rows = await database.sql`
      update ready set due_at = now(), rank = now() where job_id = ${jobId} returning 1`;
    return rows.length > 0;
  }, "the job waits again");
}

Deno.test("an agent that is fenced while its session thread is blocked sends the device nothing more, ends the thread and goes on", async () => {
  await using scene = await setScene();
  const { running, blocker, deviceId, enrolled } = scene;
  const { jobId, thread } = await startBlocked(scene);
  const received = blocker.relay.received;
  await fence(scene);
  await until(() => running.logged("lease_lost"), "the session is given up");
  const given = runMs(thread);
  await until(() => runMs(thread) > given, "the thread is still busy when it is given up");
  blocker.calm();
  await until(() => blocker.device.log.open === 0, "the thread ends with its turn");
  assert.equal(blocker.relay.received, received, "the device was spoken to after the fence");
  await until(() => !scene.sessionThreads().includes(thread), "the thread is gone");
  assert.deepEqual(findSecret(await readFolder(enrolled.state.path), PASSWORD), []);
  assert.deepEqual(findSecret([{ name: "log", text: JSON.stringify(running.log) }], PASSWORD), []);
  const heard = running.wire.sent.length;
  running.wire.mend();
  await ageGrants(jobId);
  const job = await untilJob(plane, jobId, "completed", "failed", "dead");
  assert.deepEqual(job.history.map(({ outcome }) => outcome), ["lost", "completed"]);
  const results = running.wire.sent.slice(heard).filter((line) => line.endsWith("/result"));
  assert.equal(results.length, 1, "the blocked session was reported as well");
  assert.ok(!running.wire.sent.slice(0, heard).some((line) => line.endsWith("/result")));
  const admin = await plane.administrator();
  const { items } = await admin.call(listRevisions, { params: { deviceId }, query: {} });
  assert.equal(items.length, 1);
  assert.ok(!running.logged("session_thread_ended"), "being fenced is no fault");
});

Deno.test("an agent whose threads are blocked for good takes no more work and ends, to be started again", async () => {
  const siteId = await makeSite(plane);
  await using enrolled = await enrolAgent(plane, [siteId]);
  await using running = await startAgent(plane, enrolled, {
    clock: clockOf(20),
    settings: AgentSettings.parse({ policy: LOCAL }),
    threads: { url: STANDING.url, limits: { stallMs: STANDING.stallMs }, fullSessions: 0 },
  });
  const { port } = STANDING.target;
  let end: unknown;
  running.agent.finished.catch((error) => end = error);
  const order = async (n: number) => {
    const deviceId = await addDevice(plane, siteId, { host: `127.0.0.${n}`, port });
    return (await backUpNow(plane, [deviceId]))[0] ?? assert.fail();
  };
  for (const n of [2, 3, 4]) {
    const jobId = await order(n);
    const isTried = async () => (await readJob(plane, jobId)).history.length > 0;
    await until(isTried, "the job was tried");
  }
  await until(() => end !== undefined, "the agent has ended");
  assert.match(String(end), /too many threads are blocked for good/);
  assert.deepEqual((await readJob(plane, await order(5))).history, []);
});
