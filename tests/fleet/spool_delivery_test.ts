/** Results that cannot be delivered when they are ready: kept, replayed, and never in the way of one another. */
import assert from "node:assert/strict";
import { requestKeyRotation } from "@rookery/shared/api/agent_identity.ts";
import { listRevisions } from "@rookery/shared/api/backups.ts";
import type { DeviceId } from "@rookery/shared/ids.ts";
import {
  addDevice,
  addFarmDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  makeSite,
  readJob,
  startAgent,
  until,
  untilJob,
} from "../support/agent_bench.ts";
import { frrConfiguration } from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { fastClock } from "../support/fast_clock.ts";
import { deliveryOf, openSpool, spooledEntries } from "../support/spool.ts";
import { type Carrier, Wire } from "../support/wire.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const PATIENCE_MS = 30_000;

/** A device of the farm and an enrolled agent of its site. */
async function setScene() {
  const device = await startDevice(makeRecording("frr", 1));
  const siteId = await makeSite(plane);
  const deviceId = await addFarmDevice(plane, siteId, device);
  const enrolled = await enrolAgent(plane, [siteId]);
  return {
    siteId,
    deviceId,
    enrolled,
    device,
    async [Symbol.asyncDispose]() {
      await enrolled[Symbol.asyncDispose]();
      await device[Symbol.asyncDispose]();
    },
  };
}

/** Jobs of devices that nobody connects to, each with a result that waits in the agent's spool, oldest first. */
async function setFullScene({ entries }: { entries: number }) {
  const scene = await setScene();
  const { siteId, enrolled } = scene;
  const boot = await bootByHand(plane, enrolled);
  const spool = await openSpool(enrolled);
  const waiting = [];
  for (let n = 0; n < entries; n++) {
    const deviceId = await addDevice(plane, siteId);
    const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
    const [lease = assert.fail()] = await boot.claim();
    await spool.put(await deliveryOf(boot, lease, frrConfiguration({ password: `word-${n}` })));
    waiting.push({ deviceId, jobId, leaseId: lease.jti });
  }
  return { ...scene, waiting };
}

/** A wire on which requests to these paths do not come through. */
function wireWithout(...paths: readonly RegExp[]): Wire {
  const wire = new Wire(plane);
  wire.carrier = (request, pass) => {
    const { pathname } = new URL(request.url);
    return paths.some((path) => path.test(pathname)) ? broken() : pass(request);
  };
  return wire;
}

function broken(): Promise<never> {
  return Promise.reject(new TypeError("the connection broke"));
}

/** Waits for its caller to give up, as on a claim that is held. */
function held(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) =>
    signal.addEventListener("abort", () => reject(signal.reason), { once: true })
  );
}

async function countRevisions(deviceId: DeviceId): Promise<number> {
  const admin = await plane.administrator();
  const { items } = await admin.call(listRevisions, { params: { deviceId }, query: {} });
  return items.length;
}

Deno.test("a result survives the loss of the network and a restart of the agent", async () => {
  await using scene = await setScene();
  const { enrolled, deviceId } = scene;
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  {
    const wire = wireWithout(/\/blobs\//, /\/result$/);
    await using running = await startAgent(plane, enrolled, { wire, clock: fastClock });
    await until(() => running.logged("result_spooled"), "the result waits", PATIENCE_MS);
    running.agent.stop();
    await running.agent.finished;
  }
  assert.equal((await spooledEntries(enrolled)).length, 1);
  const wire = new Wire(plane);
  const types: (string | null)[] = [];
  wire.carrier = (request, pass) => {
    // Without claims nobody runs the job once more, and its result must be what was kept.
    if (request.url.endsWith("/claim")) return held(request.signal);
    if (request.method === "PUT") types.push(request.headers.get("content-type"));
    return pass(request);
  };
  await using again = await startAgent(plane, enrolled, { wire, clock: fastClock });
  const job = await untilJob(plane, jobId, "completed", "failed", "dead");
  assert.equal(job.state, "completed", JSON.stringify(again.log));
  await until(() => again.logged("result_delivered"), "it is delivered");
  const told = again.log.find(({ event }) => event === "result_delivered");
  assert.deepEqual([told?.answer, types], ["accepted_late", ["application/jose"]]);
  await until(async () => (await spooledEntries(enrolled)).length === 0, "the spool is empty");
  assert.equal(await countRevisions(deviceId), 1);
  assert.equal(scene.device.log.connections, 1);
});

Deno.test("a result that waits is replayed when the network is back, under the lease that it has kept", async () => {
  await using scene = await setScene();
  const { enrolled, deviceId } = scene;
  const wire = wireWithout(/\/result$/);
  await using running = await startAgent(plane, enrolled, { wire, clock: fastClock });
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  await until(() => running.logged("result_spooled"), "the result waits", PATIENCE_MS);
  const beats: string[][] = [];
  wire.carrier = async (request, pass) => {
    if (request.url.endsWith("/heartbeat")) beats.push((await request.clone().json()).leaseIds);
    return await (request.url.endsWith("/result") ? broken() : pass(request));
  };
  await until(() => beats.length > 0, "a heartbeat is sent", PATIENCE_MS);
  assert.equal(beats[0]?.length, 1, "the heartbeat does not name the lease whose result waits");
  wire.carrier = undefined;
  await untilJob(plane, jobId, "completed");
  await until(() => running.logged("result_delivered"), "it is delivered");
  const told = running.log.find(({ event }) => event === "result_delivered");
  assert.equal(told?.answer, "accepted");
  await until(async () => (await spooledEntries(enrolled)).length === 0, "the spool is empty");
});

Deno.test("what waits is replayed oldest first, few at a time, and one that is not taken holds up no other", async () => {
  await using scene = await setFullScene({ entries: 6 });
  const { waiting, enrolled } = scene;
  const [stuck = assert.fail()] = waiting;
  const started: string[] = [];
  let open = 0;
  let most = 0;
  const wire = new Wire(plane);
  const carrier: Carrier = async (request, pass) => {
    const leaseId = /leases\/([^/]+)\/result/.exec(request.url)?.[1];
    if (request.url.endsWith("/claim")) return await held(request.signal);
    if (leaseId === undefined) return await pass(request);
    started.push(leaseId);
    most = Math.max(most, ++open);
    try {
      return leaseId === stuck.leaseId ? internalError() : await pass(request);
    } finally {
      open--;
    }
  };
  wire.carrier = carrier;
  await using _running = await startAgent(plane, enrolled, { wire, clock: fastClock });
  for (const { jobId } of waiting.slice(1)) await untilJob(plane, jobId, "completed");
  const order = [...new Set(started)];
  const asQueued = waiting.map(({ leaseId }) => leaseId as string);
  // Two are on their way at once: whichever begins, one older at most has not.
  for (const [at, leaseId] of order.entries()) {
    const older = asQueued.slice(0, asQueued.indexOf(leaseId));
    const passedBy = older.filter((other) => order.indexOf(other) > at);
    assert.ok(passedBy.length <= 1, `${order} instead of ${asQueued}`);
  }
  assert.ok(most <= 2, `${most} at once`);
  assert.deepEqual((await spooledEntries(enrolled)).length, 1);
  wire.carrier = (request, pass) =>
    request.url.endsWith("/claim") ? held(request.signal) : pass(request);
  await untilJob(plane, stuck.jobId, "completed");
});

Deno.test("a result that waits is taken although the agent has new keys since it signed it", async () => {
  await using scene = await setFullScene({ entries: 1 });
  const { enrolled, waiting: [kept = assert.fail()] } = scene;
  const admin = await plane.administrator();
  const { agentId } = enrolled.identity;
  await admin.call(requestKeyRotation, { params: { agentId } });
  const wire = wireWithout(/\/blobs\//, /\/result$/, /\/claim$/);
  await using running = await startAgent(plane, enrolled, { wire, clock: fastClock });
  await until(() => running.logged("keys_rotated"), "the agent has new keys");
  wire.carrier = (request, pass) =>
    request.url.endsWith("/claim") ? held(request.signal) : pass(request);
  assert.equal(
    (await untilJob(plane, kept.jobId, "completed", "dead", "failed")).state,
    "completed",
  );
  await until(async () => (await spooledEntries(enrolled)).length === 0, "the spool is empty");
});

function internalError(): Response {
  const problem = { type: "/problems/internal", title: "t", status: 500, detail: "d", remedy: "r" };
  const headers = { "content-type": "application/problem+json" };
  return new Response(JSON.stringify({ ...problem, instance: "i" }), { status: 500, headers });
}

Deno.test("an agent with a full spool claims nothing, says why, and goes on when there is room", async () => {
  await using scene = await setFullScene({ entries: 3 });
  const { enrolled, deviceId, waiting } = scene;
  const settings = { spool: { maxMegabytes: 16, maxEntries: 3 } };
  const wire = wireWithout(/\/result$/);
  await using running = await startAgent(plane, enrolled, { wire, settings, clock: fastClock });
  await until(() => running.logged("spool_full"), "the spool is full");
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  await until(() => wire.sent.filter((line) => line.endsWith("/heartbeat")).length > 2, "it lives");
  assert.ok(!wire.sent.some((line) => line.endsWith("/claim")), "it claimed with a full spool");
  const full = running.log.find(({ event }) => event === "spool_full");
  assert.match(String(full?.reason), /3 results wait, spool\.maxEntries is 3/);
  assert.equal((await readJob(plane, jobId)).state, "available");
  wire.carrier = undefined;
  await untilJob(plane, jobId, "completed");
  assert.ok(running.logged("spool_has_room"));
  for (const { deviceId: kept } of waiting) assert.equal(await countRevisions(kept), 1);
});
