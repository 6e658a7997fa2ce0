import assert from "node:assert/strict";
import { revokeAgent } from "@rookery/shared/api/agents.ts";
import { listRevisions } from "@rookery/shared/api/backups.ts";
import { cancelJob } from "@rookery/shared/api/jobs.ts";
import type { DeviceId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { AgentSettings } from "../../agent/settings.ts";
import {
  addFarmDevice,
  backUpNow,
  enrolAgent,
  makeSite,
  readJob,
  type RunningAgent,
  startAgent,
  until,
  untilJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { type FarmDevice, startDevice } from "../support/farm/device.ts";
import type { Fault } from "../support/farm/fault.ts";
import { makeRecording } from "../support/farm/recording.ts";
import type { Clock } from "../../agent/clock.ts";
import { clockOf, fastClock } from "../support/fast_clock.ts";
import { Wire } from "../support/wire.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

/** For what is measured: a busy machine's lateness counts so many times. */
const PACE = 5;

/** Never answers: a proxy that swallowed the request. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) =>
    signal.addEventListener("abort", () => reject(signal.reason), { once: true })
  );
}

interface SceneOptions {
  readonly fault?: Fault;
  readonly clock?: Clock;
  readonly settings?: Partial<AgentSettings>;
  /** What a terminator of TLS makes of the bodies that the agent sends. */
  readonly tamper?: (path: string, body: Record<string, unknown>) => Record<string, unknown>;
}

function tamperingWire(tamper: NonNullable<SceneOptions["tamper"]>): Wire {
  const wire = new Wire(plane);
  wire.carrier = async (request, pass) => {
    const { url, headers, signal, method } = request;
    if (!headers.get("content-type")?.includes("json")) return await pass(request);
    const body = JSON.stringify(tamper(new URL(url).pathname, await request.json()));
    return await pass(new Request(url, { method, headers, signal, body }));
  };
  return wire;
}

/** One device, one agent that runs at its site. */
async function setScene(options: SceneOptions = {}) {
  const device = await startDevice(makeRecording("frr", 1), options);
  const siteId = await makeSite(plane, { leaseTtlSeconds: 30 });
  const deviceId = await addFarmDevice(plane, siteId, device);
  const enrolled = await enrolAgent(plane, [siteId]);
  const { tamper, ...more } = options;
  const running = await startAgent(plane, enrolled, {
    ...more,
    ...(tamper ? { wire: tamperingWire(tamper) } : {}),
  });
  return {
    device,
    siteId,
    deviceId,
    enrolled,
    running,
    agentId: enrolled.identity.agentId,
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      await enrolled[Symbol.asyncDispose]();
      await device[Symbol.asyncDispose]();
    },
  };
}

/** Orders a backup and waits until the device is in the middle of it. */
async function startSession({ device, deviceId }: { device: FarmDevice; deviceId: DeviceId }) {
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  await until(
    () => device.log.commands.includes("show running-config"),
    "the device is being read",
  );
  return jobId;
}

async function countRevisions(deviceId: DeviceId): Promise<number> {
  const admin = await plane.administrator();
  const { items } = await admin.call(listRevisions, { params: { deviceId }, query: {} });
  return items.length;
}

/** What the agent sent after its first request of this kind. */
function sentSince({ wire }: RunningAgent, path: string): string[] {
  const at = wire.sent.findIndex((line) => line.includes(path));
  return at < 0 ? assert.fail(`${path} was never sent`) : wire.sent.slice(at + 1);
}

Deno.test("Agent backs up a device that is enqueued while its claim is held", async () => {
  await using scene = await setScene();
  const [jobId = assert.fail()] = await backUpNow(plane, [scene.deviceId]);
  const job = await untilJob(plane, jobId, "completed", "failed", "dead");
  assert.equal(job.state, "completed", JSON.stringify([job, scene.running.log]));
  const ended = scene.running.log.find(({ event }) => event === "attempt_ended");
  const { deviceId: device } = scene;
  const started = scene.running.log.find(({ event }) => event === "attempt_started");
  const lease = started?.lease;
  assert.deepEqual(started, {
    event: "attempt_started",
    lease,
    job: jobId,
    kind: "backup_config",
    epoch: 1,
    device,
  });
  assert.deepEqual({ ...ended, ms: Number(ended?.ms) > 0 }, {
    event: "attempt_ended",
    lease,
    job: jobId,
    kind: "backup_config",
    device,
    outcome: "completed",
    ms: true,
  });
});

Deno.test("drain() claims no more, lets the session finish and reports it, the heartbeat last", async () => {
  await using scene = await setScene({ fault: "slow_drip" });
  const { running, deviceId } = scene;
  const jobId = await startSession(scene);
  running.agent.drain();
  await running.agent.finished;
  assert.equal((await readJob(plane, jobId)).state, "completed", JSON.stringify(running.log));
  const after = sentSince(running, "/drain");
  assert.ok(!after.some((line) => line.endsWith("/claim")), "it claimed while it drained");
  assert.ok(after.some((line) => line.endsWith("/result")));
  assert.equal(await countRevisions(deviceId), 1);
  assert.equal(scene.device.log.open, 0);
});

Deno.test("stop() ends the session at once; the next boot has the job back and runs it", async () => {
  await using scene = await setScene({ fault: "stall_mid_configuration" });
  const { running, device, deviceId } = scene;
  const jobId = await startSession(scene);
  running.agent.stop();
  await running.agent.finished;
  await until(() => device.log.open === 0, "the session is closed");
  assert.equal(await countRevisions(deviceId), 0);
  await device.setFault(undefined);
  await using again = await startAgent(plane, scene.enrolled, { clock: fastClock });
  const job = await untilJob(plane, jobId, "completed", "failed", "dead", "scheduled");
  assert.equal(job.history[0]?.outcome, "lost", JSON.stringify([job, again.log]));
});

Deno.test("a cancelled job's session is broken off, and cancelled it stays", async () => {
  await using scene = await setScene({ fault: "stall_mid_configuration", clock: fastClock });
  const jobId = await startSession(scene);
  const admin = await plane.administrator();
  const { state } = await admin.call(cancelJob, { params: { jobId } });
  assert.equal(state, "requested");
  const job = await untilJob(plane, jobId, "cancelled", "failed", "completed", "dead");
  assert.equal(job.state, "cancelled", JSON.stringify(scene.running.log));
  await until(() => scene.device.log.open === 0, "the session is closed");
  await assert.rejects(
    admin.call(cancelJob, { params: { jobId } }),
    (error: unknown) => error instanceof ProblemError && error.type === "conflict",
  );
});

Deno.test("an agent that is not heard fences itself before its lease is over, and goes on when it is", async () => {
  const clock = clockOf(PACE);
  await using scene = await setScene({ fault: "stall_mid_configuration", clock });
  const { running, device, deviceId } = scene;
  await startSession(scene);
  running.wire.cut();
  const cutAt = performance.now();
  await until(() => device.log.open === 0, "the session is closed");
  const fencedMs = (performance.now() - cutAt) * PACE;
  assert.ok(fencedMs < 30_000, `it touched the device for ${fencedMs} ms of a lease of 30 s`);
  assert.ok(running.logged("fenced"), JSON.stringify(running.log));
  // The device's own limit would end the session as well, a little later: that is not the fence.
  await until(() => running.logged("lease_lost"), "the session is given up");
  assert.ok(!running.logged("attempt_failed"), JSON.stringify(running.log));
  assert.equal(await countRevisions(deviceId), 0);
  await device.setFault(undefined);
  running.wire.mend();
  const other = await startDevice(makeRecording("linux", 2));
  await using _ = other;
  const otherId = await addFarmDevice(plane, scene.siteId, other);
  const [next = assert.fail()] = await backUpNow(plane, [otherId]);
  const job = await untilJob(plane, next, "completed", "failed", "dead");
  assert.equal(job.state, "completed", JSON.stringify(running.log));
  const events = running.log.map(({ event }) => event);
  assert.equal(events.filter((event) => event === "control_plane_back").length, 1);
  assert.ok(events.indexOf("control_plane_back") > events.indexOf("fenced"));
});

Deno.test("a result whose reply was lost is told again and counts once", async () => {
  await using scene = await setScene({ clock: fastClock });
  const { running, deviceId } = scene;
  let lost = 0;
  running.wire.carrier = async (request, pass) => {
    const reply = await pass(request);
    if (!request.url.endsWith("/result") || lost++ > 0) return reply;
    await reply.body?.cancel();
    throw new TypeError("the connection broke before the reply came");
  };
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  await until(() => running.logged("result_delivered"), "the result is delivered");
  const told = running.log.find(({ event }) => event === "result_delivered");
  assert.deepEqual([told?.answer, told?.duplicate], ["accepted", true]);
  const { state, history } = await readJob(plane, jobId);
  assert.deepEqual([state, history.length, await countRevisions(deviceId)], ["completed", 1, 1]);
});

Deno.test("no device is touched before a heartbeat that names the lease was answered", async () => {
  await using scene = await setScene({ clock: fastClock });
  const { running, device } = scene;
  // Its thread is started by then, so that nothing else could keep it from the device.
  const [jobId = assert.fail()] = await backUpNow(plane, [scene.deviceId]);
  await untilJob(plane, jobId, "completed");
  const before = device.log.connections;
  running.wire.carrier = (request, pass) =>
    request.url.endsWith("/heartbeat") ? untilAborted(request.signal) : pass(request);
  await backUpNow(plane, [scene.deviceId]);
  await until(() => running.logged("lease_lost"), "the lease is given up");
  assert.equal(device.log.connections, before);
});

Deno.test("an agent runs no more sessions than its settings say, whatever it is given", async () => {
  await using scene = await setScene({
    fault: "stall_mid_configuration",
    settings: { capacity: 1 },
    tamper: (path, body) => {
      if (path.endsWith("/session")) return { ...body, capacity: 50 };
      return path.endsWith("/claim") ? { ...body, wanted: 50 } : body;
    },
  });
  await using other = await startDevice(makeRecording("frr", 5), {
    fault: "stall_mid_configuration",
  });
  const otherId = await addFarmDevice(plane, scene.siteId, other);
  await backUpNow(plane, [scene.deviceId, otherId]);
  await until(() => scene.running.logged("leases_not_started"), "a lease is left alone");
  await until(() => scene.device.log.open + other.log.open > 0, "one device is being read");
  assert.equal(scene.device.log.connections + other.log.connections, 1);
});

Deno.test("an agent whose first session request is swallowed asks again", async () => {
  const wire = new Wire(plane);
  wire.carrier = (request, pass) => {
    if (!request.url.endsWith("/session")) return pass(request);
    wire.carrier = undefined;
    return untilAborted(request.signal);
  };
  const siteId = await makeSite(plane);
  await using enrolled = await enrolAgent(plane, [siteId]);
  await using running = await startAgent(plane, enrolled, { wire, clock: fastClock });
  await until(() => running.logged("agent_started"), "the agent has started", 15_000);
  assert.ok(running.logged("control_plane_unreachable"));
});

Deno.test("a second agent does not run from the state folder of one that runs", async () => {
  const siteId = await makeSite(plane);
  await using enrolled = await enrolAgent(plane, [siteId]);
  {
    using _lock = await enrolled.state.lock();
    await assert.rejects(enrolled.state.lock(), /another agent runs from it/);
  }
  using _lock = await enrolled.state.lock();
});

Deno.test("a revoked agent breaks its session off and ends; nothing of it is stored", async () => {
  await using scene = await setScene({ fault: "stall_mid_configuration", clock: fastClock });
  const { running, device, deviceId, agentId } = scene;
  const jobId = await startSession(scene);
  const admin = await plane.administrator();
  await admin.call(revokeAgent, { params: { agentId } });
  await assert.rejects(
    running.agent.finished,
    (error: unknown) => error instanceof ProblemError && error.type === "agent-revoked",
  );
  await until(() => device.log.open === 0, "the session is closed");
  assert.equal(await countRevisions(deviceId), 0);
  const { state, hold } = await readJob(plane, jobId);
  assert.deepEqual([state, hold], ["available", "no_agent"]);
});

Deno.test("an agent whose session is forgotten opens it again and keeps working", async () => {
  await using scene = await setScene({ clock: fastClock });
  await database.sql`
    update agent_sessions set expires_at = clock_timestamp() - interval '1 second'
    where agent_id = ${scene.agentId}`;
  const [jobId = assert.fail()] = await backUpNow(plane, [scene.deviceId]);
  const job = await untilJob(plane, jobId, "completed", "failed", "dead");
  assert.equal(job.state, "completed", JSON.stringify(scene.running.log));
});

Deno.test("an agent that is too old waits, and goes on when it is served again", async () => {
  let served = false;
  const tamper: SceneOptions["tamper"] = (path, body) =>
    !served && path.endsWith("/session") ? { ...body, protocolVersion: 99 } : body;
  await using scene = await setScene({ clock: fastClock, tamper });
  const { running } = scene;
  await until(() => running.logged("agent_waits"), "the agent waits", 60_000);
  const waits = running.log.find(({ event }) => event === "agent_waits");
  assert.match(String(waits?.reason), /protocol 99; this control plane serves 1/);
  served = true;
  await until(() => running.logged("agent_started"), "the agent works", 60_000);
});
