import assert from "node:assert/strict";
import { archiveDevice } from "@rookery/shared/api/devices.ts";
import { cancelJob, createJobs, getJob, listJobs, requeueJob } from "@rookery/shared/api/jobs.ts";
import { updateSite } from "@rookery/shared/api/sites.ts";
import type { CallInput } from "@rookery/shared/endpoint.ts";
import type { DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { addDevice, bootByHand, enrolAgent, makeSite, signResult } from "../support/agent_bench.ts";
import { reportResult } from "@rookery/shared/api/agent_protocol.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase({ poolSize: 6 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

function problem(type: ProblemType, pointer?: string) {
  return (error: unknown) =>
    error instanceof ProblemError && error.type === type &&
    (pointer === undefined || error.errors?.[0]?.pointer === pointer);
}

async function setScene(devices = 2) {
  const siteId = await makeSite(plane);
  const deviceIds: DeviceId[] = [];
  for (let n = 0; n < devices; n++) deviceIds.push(await addDevice(plane, siteId));
  return { admin: await plane.administrator(), siteId, deviceIds };
}

Deno.test("createJobs() orders a device, a list and a whole site, and takes waiting jobs in", async () => {
  const { admin, siteId, deviceIds } = await setScene(3);
  const one = await admin.call(createJobs, { body: { deviceIds: deviceIds.slice(0, 1) } });
  assert.deepEqual(one.jobs.map(({ coalesced }) => coalesced), [false]);
  const two = await admin.call(createJobs, { body: { deviceIds: deviceIds.slice(0, 2) } });
  assert.deepEqual(two.jobs.map(({ coalesced }) => coalesced).sort(), [false, true]);
  const all = await admin.call(createJobs, { body: { siteId } });
  assert.deepEqual(all.jobs.map(({ deviceId }) => deviceId).sort(), [...deviceIds].sort());
  const { items } = await admin.call(listJobs, { query: { siteId } });
  assert.deepEqual(items.map(({ state, hold }) => [state, hold]), [
    ["available", "no_agent"],
    ["available", "no_agent"],
    ["available", "no_agent"],
  ]);
});

Deno.test("createJobs() names the field of what it cannot order, and orders nothing then", async () => {
  const { admin, siteId, deviceIds: [deviceId = assert.fail()] } = await setScene();
  const nobody = crypto.randomUUID() as DeviceId;
  const nowhere = crypto.randomUUID() as SiteId;
  const order = (body: CallInput<typeof createJobs>["body"]) => admin.call(createJobs, { body });
  await assert.rejects(
    order({ deviceIds: [deviceId, nobody] }),
    problem("validation", "#/deviceIds/1"),
  );
  await assert.rejects(order({ siteId: nowhere }), problem("validation", "#/siteId"));
  const payload = { captures: ["startup"] };
  await assert.rejects(
    order({ deviceIds: [deviceId], payload }),
    problem("validation", "#/payload/captures/0"),
  );
  await assert.rejects(
    order({ siteId, deviceIds: [deviceId] }),
    problem("validation", "#/deviceIds"),
  );
  assert.deepEqual((await admin.call(listJobs, { query: { siteId } })).items, []);
});

Deno.test("createJobs() refuses what overfills a site's queue, says when to come back, and keeps nothing", async () => {
  const { admin, siteId } = await setScene(3);
  await admin.call(updateSite, { params: { siteId }, body: { maxQueued: 2 } });
  await assert.rejects(
    admin.call(createJobs, { body: { siteId } }),
    (error: unknown) =>
      error instanceof ProblemError && error.type === "queue-full" && error.status === 429 &&
      (error.retryAfterSeconds ?? 0) > 0,
  );
  assert.deepEqual((await admin.call(listJobs, { query: { siteId } })).items, []);
});

Deno.test("cancelJob() ends a waiting job for good, and says when it is too late or unknown", async () => {
  const { admin, deviceIds } = await setScene(1);
  const { jobs: [job = assert.fail()] } = await admin.call(createJobs, { body: { deviceIds } });
  const params = { jobId: job.jobId };
  assert.deepEqual(await admin.call(cancelJob, { params }), { state: "cancelled" });
  assert.equal((await admin.call(getJob, { params })).state, "cancelled");
  await assert.rejects(
    admin.call(cancelJob, { params }),
    (error: unknown) =>
      error instanceof ProblemError && /ended already: cancelled/.test(error.message),
  );
  const unknown = { jobId: crypto.randomUUID() as JobId };
  await assert.rejects(admin.call(cancelJob, { params: unknown }), problem("not-found"));
});

Deno.test("requeueJob() tries an ended job again as a new one, and no job that runs or whose device is archived", async () => {
  const { admin, siteId, deviceIds } = await setScene(1);
  const { jobs: [job = assert.fail()] } = await admin.call(createJobs, { body: { deviceIds } });
  const params = { jobId: job.jobId };
  await assert.rejects(admin.call(requeueJob, { params }), problem("conflict"));
  await using agent = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, agent);
  const [lease = assert.fail()] = await boot.claim();
  const failure = { code: "auth_rejected", detail: "as ordered" } as const;
  const result = await signResult(boot, lease, { status: "failed", failure });
  await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
  const failed = await admin.call(getJob, { params });
  assert.deepEqual([failed.state, failed.failureCode, failed.attempts], [
    "failed",
    "auth_rejected",
    1,
  ]);
  assert.match(failed.reason ?? "", /refused the user name, password or key/);
  const again = await admin.call(requeueJob, { params });
  assert.notEqual(again.jobId, job.jobId);
  const [deviceId = assert.fail()] = deviceIds;
  await admin.call(archiveDevice, { params: { deviceId } });
  const cancelled = await admin.call(getJob, { params: { jobId: again.jobId } });
  assert.equal(cancelled.state, "cancelled");
  await assert.rejects(
    admin.call(requeueJob, { params }),
    (error: unknown) => error instanceof ProblemError && /archived; restore it/.test(error.message),
  );
});

Deno.test("listJobs() pages from the newest to the oldest, and filters by device and by state", async () => {
  const { admin, siteId, deviceIds } = await setScene(5);
  await admin.call(createJobs, { body: { siteId } });
  const [first = assert.fail(), second = assert.fail()] = deviceIds;
  const ofFirst = await admin.call(listJobs, { query: { deviceId: first } });
  const [job = assert.fail()] = ofFirst.items;
  await admin.call(cancelJob, { params: { jobId: job.id } });
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const query = { siteId, limit: 2, ...(cursor === undefined ? {} : { cursor }) };
    const page = await admin.call(listJobs, { query });
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  assert.deepEqual([ids.length, new Set(ids).size], [5, 5]);
  assert.deepEqual(ids, ids.toSorted().reverse());
  const inState = async (state: "available" | "cancelled" | "leased", deviceId?: DeviceId) => {
    const query = { siteId, state, ...(deviceId ? { deviceId } : {}) };
    return (await admin.call(listJobs, { query })).items.length;
  };
  assert.deepEqual(
    [await inState("available"), await inState("cancelled"), await inState("leased")],
    [4, 1, 0],
  );
  assert.deepEqual([await inState("available", first), await inState("available", second)], [0, 1]);
});
