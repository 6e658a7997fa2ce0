import assert from "node:assert/strict";
import { sql } from "kysely";
import { reportResult, sendHeartbeat } from "@rookery/shared/api/agent_protocol.ts";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { updateDevice } from "@rookery/shared/api/devices.ts";
import { followJobs, type JobChange, listJobLog } from "@rookery/shared/api/job_history.ts";
import { createJobs, getJob, listJobs } from "@rookery/shared/api/jobs.ts";
import { cancelJobs, requeueJobs } from "@rookery/shared/api/many_jobs.ts";
import { updateSite } from "@rookery/shared/api/sites.ts";
import { call } from "@rookery/shared/client.ts";
import type { CallInput } from "@rookery/shared/endpoint.ts";
import type { DeviceId, JobId, LeaseId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import {
  addDevice,
  bootByHand,
  enrolAgent,
  makeSite,
  type ManualBoot,
  signResult,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { untilShown } from "../support/outbox.ts";

const database = testDatabase({ poolSize: 6 });
const plane = testControlPlane(database, {
  publicUrl: "https://rookery.test",
  streamTimes: { pollMs: 20 },
});

type Followed = NonNullable<CallInput<typeof followJobs>["query"]>;

/** A stream of jobs that a test reads change by change. */
async function follow(query: Followed, token?: string) {
  const { cookie } = await plane.administrator();
  await untilShown(database.sql);
  const headers = token ? { authorization: `Bearer ${token}` } : { cookie };
  const send = (request: Request) => plane.fetch(request);
  const events = await call(send, plane.publicUrl, followJobs, { query }, { headers });
  const iterator = events[Symbol.asyncIterator]();
  const first = await iterator.next();
  assert.equal(first.value?.event, "hello");
  return {
    async next(): Promise<JobChange> {
      const { value } = await iterator.next();
      return value?.event === "change" ? value.data : assert.fail(`not a change: ${value?.event}`);
    },
    [Symbol.asyncDispose]: async () => void await iterator.return?.(),
  };
}

async function setScene(devices = 1) {
  const siteId = await makeSite(plane);
  const deviceIds: DeviceId[] = [];
  for (let n = 0; n < devices; n++) deviceIds.push(await addDevice(plane, siteId));
  return { siteId, deviceIds };
}

async function order(body: CallInput<typeof createJobs>["body"]): Promise<JobId[]> {
  const admin = await plane.administrator();
  return (await admin.call(createJobs, { body })).jobs.map(({ jobId }) => jobId);
}

async function stateOf(jobId: JobId) {
  return (await (await plane.administrator()).call(getJob, { params: { jobId } })).state;
}

function refused(type: ProblemType, pointer?: string) {
  return (error: unknown) =>
    error instanceof ProblemError && error.type === type &&
    (pointer === undefined || error.errors[0]?.pointer === pointer);
}

function beat(boot: ManualBoot, leaseId: LeaseId, progress: readonly object[] = []) {
  const body = { bootId: boot.bootId, leaseIds: [leaseId], progress: progress as never };
  return boot.call(sendHeartbeat, { body });
}

Deno.test("followJobs() tells the life of a job in its order: enqueued, granted, started, progress, ended", async () => {
  const { siteId, deviceIds: [deviceId = assert.fail()] } = await setScene();
  await using stream = await follow({ siteId });
  const [jobId = assert.fail()] = await order({ deviceIds: [deviceId] });
  await order({ deviceIds: [deviceId], priority: 3 });
  await using agent = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, agent);
  const [lease = assert.fail()] = await boot.claim();
  const reply = await beat(boot, lease.jti);
  assert.ok(reply.progressSeconds);
  await beat(boot, lease.jti, [{ leaseId: lease.jti, step: "reading running", percent: 40 }]);
  const failure = { code: "connect_timed_out", detail: "no answer" } as const;
  const result = await signResult(boot, lease, { status: "failed", failure });
  await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
  const seen: JobChange[] = [];
  for (let n = 0; n < 6; n++) seen.push(await stream.next());
  assert.deepEqual(seen.map(({ change, state }) => [change, state]), [
    ["enqueued", "available"],
    ["raised", undefined],
    ["granted", "leased"],
    ["started", "leased"],
    ["progress", undefined],
    ["retrying", "scheduled"],
  ]);
  assert.ok(seen.every((change) => change.jobId === jobId && change.deviceId === deviceId));
  assert.equal(seen[2]?.agentId, agent.identity.agentId);
  assert.deepEqual([seen[4]?.step, seen[4]?.percent], ["reading running", 40]);
  assert.equal(seen[5]?.failureCode, "connect_timed_out");
  const admin = await plane.administrator();
  await admin.call(cancelJobs, { body: { jobIds: [jobId] } });
  const last = await stream.next();
  assert.deepEqual([last.change, last.state], ["ended", "cancelled"]);
});

Deno.test("followJobs() tells the end of a job that was completed, and of one whose agent was lost", async () => {
  const { siteId, deviceIds } = await setScene(2);
  await order({ deviceIds, kind: "check_reachability" });
  await using agent = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, agent);
  const [lease = assert.fail(), lost = assert.fail()] = await boot.claim();
  await beat(boot, lease.jti);
  await using stream = await follow({ siteId });
  const report = {
    status: "completed",
    outcome: { reachable: false, stages: [], failure: { code: "connection_refused", detail: "" } },
  } as const;
  const result = await signResult(boot, lease, report as never);
  await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
  const ended = await stream.next();
  assert.deepEqual([ended.change, ended.state, ended.jobId], ["ended", "completed", lease.sub]);
  await bootByHand(plane, agent).then((again) => again.claim({ wanted: 1 }));
  const returned = await stream.next();
  assert.deepEqual([returned.change, returned.jobId], ["retrying", lost.sub]);
});

Deno.test("followJobs() tells nobody of sites that they may not see, and keeps to what was asked", async () => {
  const admin = await plane.administrator();
  const [mine, other] = [await setScene(2), await setScene(1)];
  const body = { name: "one site", permissions: ["jobs:read" as const], siteIds: [mine.siteId] };
  const { secret } = await admin.call(createApiToken, { body });
  await using narrow = await follow({}, secret);
  const [one = assert.fail(), two = assert.fail()] = mine.deviceIds;
  await using single = await follow({ deviceId: two });
  await order({ siteId: other.siteId });
  await order({ deviceIds: [one] });
  await order({ deviceIds: [two] });
  assert.deepEqual([(await narrow.next()).deviceId, (await narrow.next()).deviceId], [one, two]);
  assert.equal((await single.next()).deviceId, two);
});

Deno.test("active jobs show their percentage and step, bounded in rate, and take hostile text for text", async () => {
  const admin = await plane.administrator();
  const { siteId, deviceIds } = await setScene(2);
  const [first = assert.fail()] = await order({ deviceIds });
  await using agent = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, agent);
  const leases = await boot.claim();
  const lease = leases.find(({ sub }) => sub === first) ?? assert.fail();
  await beat(boot, lease.jti, [{ leaseId: lease.jti, step: "before it started", percent: 1 }]);
  const step = "<b>\u001b[31m'; drop table jobs; --\0";
  await beat(boot, lease.jti, [
    { leaseId: lease.jti, step, percent: 40, bytes: 12_345 },
    { leaseId: crypto.randomUUID(), step: "of nobody", percent: 1 },
  ]);
  await beat(boot, lease.jti, [{ leaseId: lease.jti, step: "too soon", percent: 41 }]);
  const { items } = await admin.call(listJobs, { query: { siteId, state: "leased" } });
  const shown = items.filter(({ progress }) => progress !== null);
  assert.deepEqual(shown.map(({ id }) => id), [first]);
  const told = { ...shown[0]?.progress };
  // What came with the heartbeat that started it is told as well: it was held by then.
  assert.ok(told.step === "before it started" || told.percent === 40, told.step);
  await sql`update job_log set at = at - interval '1 minute'`.execute(database.db);
  await sql`update leases set granted_at = granted_at - interval '2 minutes'`.execute(database.db);
  await beat(boot, lease.jti, [{ leaseId: lease.jti, step, percent: 77, bytes: 12_345 }]);
  const job = await admin.call(getJob, { params: { jobId: first } });
  assert.deepEqual([job.progress?.percent, job.progress?.bytes], [77, 12_345]);
  assert.equal(job.progress?.step, step.replace("\0", "\ufffd"));
  const log = await admin.call(listJobLog, { params: { jobId: first } });
  assert.equal(log.items.filter(({ event }) => event === "progress").length, 2);
  for (
    const bad of [{ step: "x".repeat(81) }, { step: "", percent: 101 }, { step: "", bytes: -1 }]
  ) {
    await assert.rejects(
      beat(boot, lease.jti, [{ leaseId: lease.jti, ...bad }]),
      refused("validation"),
    );
  }
});

Deno.test("cancelJobs() counts first, and cancels no more than were counted", async () => {
  const admin = await plane.administrator();
  const { siteId, deviceIds } = await setScene(4);
  const [one = assert.fail(), ...rest] = deviceIds;
  await admin.call(updateDevice, { params: { deviceId: one }, body: { tags: ["spared"] } });
  const jobs = await order({ deviceIds: rest });
  const [spared = assert.fail()] = await order({ deviceIds: [one] });
  await using agent = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, agent);
  const [lease = assert.fail()] = await boot.claim({ wanted: 1 });
  await beat(boot, lease.jti);
  const filter = { siteId, tags: "not spared" };
  const many = (body: CallInput<typeof cancelJobs>["body"]) => admin.call(cancelJobs, { body });
  assert.deepEqual(await many({ filter, dryRun: true }), {
    matched: 3,
    cancelled: 0,
    requested: 0,
  });
  await assert.rejects(many({ filter }), refused("validation", "#/expected"));
  await assert.rejects(many({ filter, expected: 2 }), refused("conflict"));
  await assert.rejects(many({}), refused("validation", "#/jobIds"));
  const unknown = many({ jobIds: [spared, crypto.randomUUID() as JobId] });
  await assert.rejects(unknown, refused("validation", "#/jobIds/1"));
  assert.equal(await stateOf(spared), "available");
  const done = await many({ filter, expected: 3 });
  const isLeased = jobs.includes(lease.sub);
  assert.deepEqual(done, {
    matched: 3,
    cancelled: isLeased ? 2 : 3,
    requested: isLeased ? 1 : 0,
  });
  const [audited] = await database.sql`
    select detail from audit_rows where action = 'job.cancel_many' order by id desc limit 1`;
  assert.equal(audited?.detail.matched, 3);
  assert.deepEqual(await many({ jobIds: [...jobs, spared] }), {
    matched: 1 + done.requested,
    cancelled: isLeased ? 1 : 0,
    requested: 1,
  });
});

async function die(siteId: SiteId, jobIds: readonly JobId[]): Promise<void> {
  await sql`
    with gone as (delete from ready where site_id = ${siteId} and job_id = any(${[
    ...jobIds,
  ]}::uuid[])
      returning *), closed as (
      delete from open_jobs o using gone g where o.job_id = g.job_id and o.site_id = g.site_id)
    insert into done (site_id, job_id, device_id, kind, epoch, outcome, failure_code)
    select site_id, job_id, device_id, kind, 5, 'dead', 'connect_timed_out' from gone`
    .execute(database.db);
}

Deno.test("requeueJobs() tries dead jobs again as new ones, each with its parent, and the queue's limit holds", async () => {
  const admin = await plane.administrator();
  const { siteId, deviceIds } = await setScene(3);
  const dead = await order({ deviceIds, priority: 9 });
  await die(siteId, dead);
  const [live = assert.fail()] = await order({ deviceIds: deviceIds.slice(0, 1) });
  const many = (body: CallInput<typeof requeueJobs>["body"]) => admin.call(requeueJobs, { body });
  const filter = { siteId, failureCode: ["connect_timed_out" as const] };
  assert.deepEqual(await many({ filter, dryRun: true }), {
    matched: 3,
    requeued: 0,
    coalesced: 0,
  });
  const none = { siteId, failureCode: ["auth_rejected" as const] };
  assert.equal((await many({ filter: none, dryRun: true })).matched, 0);
  await admin.call(updateSite, { params: { siteId }, body: { maxQueued: 2 } });
  await assert.rejects(many({ filter, expected: 3 }), refused("queue-full"));
  await admin.call(updateSite, { params: { siteId }, body: { maxQueued: 100 } });
  assert.deepEqual(await many({ filter, expected: 3 }), {
    matched: 3,
    requeued: 2,
    coalesced: 1,
  });
  const { items } = await admin.call(listJobs, { query: { siteId, state: "available" } });
  const again = items.filter(({ id }) => id !== live);
  assert.deepEqual(again.map(({ priority }) => priority), [9, 9]);
  const parents = again.map(({ parentId }) => parentId);
  assert.ok(parents.every((id) => id !== null && dead.includes(id)));
  assert.equal(new Set(parents).size, 2);
});
