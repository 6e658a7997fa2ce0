import assert from "node:assert/strict";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import { updateDevice } from "@rookery/shared/api/devices.ts";
import { getQueue, updateQueue } from "@rookery/shared/api/queue.ts";
import { getSite, updateSite } from "@rookery/shared/api/sites.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  makeSite,
  readJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase({ poolSize: 6 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

async function setScene() {
  const siteId = await makeSite(plane);
  const deviceId = await addDevice(plane, siteId);
  const enrolled = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, enrolled);
  await boot.claim();
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  return {
    ...{ siteId, deviceId, boot, jobId, admin: await plane.administrator() },
    hold: async () => (await readJob(plane, jobId)).hold,
    [Symbol.asyncDispose]: () => enrolled[Symbol.asyncDispose](),
  };
}

Deno.test("updateQueue() switches maintenance: nothing is granted, jobs say why they wait, and all goes on after it", async () => {
  await using scene = await setScene();
  const { admin, boot, hold } = scene;
  assert.equal(await hold(), null);
  const { open, ...on } = await admin.call(updateQueue, { body: { maintenance: true } });
  assert.deepEqual(on, { maintenance: true, maxQueued: 1_000_000, leased: 0 });
  assert.ok(open >= 1);
  assert.equal(await hold(), "maintenance");
  assert.deepEqual(await boot.claim(), []);
  await admin.call(updateQueue, { body: { maintenance: false } });
  assert.equal((await boot.claim()).length, 1);
  assert.equal((await admin.call(getQueue, {})).leased, 1);
  const { items } = await admin.call(listAuditRows, { query: { action: "queue.update" } });
  assert.equal(items.length, 2);
});

Deno.test("a job names the window of its device, the start rate and the pause of its site as what holds it", async () => {
  await using scene = await setScene();
  const { admin, siteId, deviceId, boot, hold } = scene;
  const hour = Temporal.Now.zonedDateTimeISO("UTC").hour;
  const clock = (hours: number) => `${String((hour + hours) % 24).padStart(2, "0")}:00`;
  const windows = [{ from: clock(3), to: clock(5) }];
  const params = { deviceId };
  const device = await admin.call(updateDevice, { params, body: { windows } });
  assert.deepEqual(device.windows, windows);
  assert.equal(await hold(), "device_window");
  assert.deepEqual(await boot.claim(), []);
  await admin.call(updateDevice, { params, body: { windows: null } });
  assert.equal(await hold(), null);
  const site = await admin.call(updateSite, { params: { siteId }, body: { startsPerMinute: 6 } });
  assert.deepEqual([site.startsPerMinute, site.liveLimit], [6, null]);
  await database.sql`update sites set starts_left = 0, starts_at = now() where id = ${siteId}`;
  assert.equal(await hold(), "start_rate");
  assert.deepEqual(await boot.claim(), []);
  await admin.call(updateSite, { params: { siteId }, body: { startsPerMinute: null } });
  await admin.call(updateSite, { params: { siteId }, body: { paused: true } });
  assert.equal(await hold(), "site_paused");
  await admin.call(updateSite, { params: { siteId }, body: { paused: false } });
  await database.sql`update agents set kinds = '{}' where id in (
    select agent_id from agent_sites where site_id = ${siteId})`;
  assert.equal(await hold(), "kind_unsupported");
  assert.equal((await admin.call(getSite, { params: { siteId } })).startsPerMinute, null);
});

Deno.test("updateDevice() refuses windows that are none", async () => {
  await using scene = await setScene();
  const { admin, deviceId } = scene;
  for (const window of [{ from: "6:00", to: "08:00" }, { from: "06:00", to: "06:00" }]) {
    const change = admin.call(updateDevice, { params: { deviceId }, body: { windows: [window] } });
    await assert.rejects(
      change,
      (error: unknown) =>
        error instanceof ProblemError && error.status === 422 &&
        /^#\/windows\/0\//.test(error.errors?.[0]?.pointer ?? ""),
    );
  }
});

Deno.test("updateQueue() is for whoever sees all sites", async () => {
  await using scene = await setScene();
  const { admin, siteId } = scene;
  const body = { name: "one site", permissions: ["jobs:read" as const], siteIds: [siteId] };
  const { secret } = await admin.call(createApiToken, { body });
  const headers = { authorization: `Bearer ${secret}` };
  const seen = await plane.call(getQueue, {}, { headers });
  assert.deepEqual([seen.open, seen.leased], [1, 0], "it counts what this caller sees");
  await assert.rejects(
    plane.call(updateQueue, { body: { maintenance: true } }, { headers }),
    (error: unknown) => error instanceof ProblemError && error.status === 403,
  );
});
