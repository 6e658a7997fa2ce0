/** What the system that Rookery succeeds did with jobs, each behaviour under its name. */
import assert from "node:assert/strict";
import { sql } from "kysely";
import { reportResult, sendHeartbeat } from "@rookery/shared/api/agent_protocol.ts";
import { archiveDevice } from "@rookery/shared/api/devices.ts";
import { jobStatistics, listJobLog } from "@rookery/shared/api/job_history.ts";
import {
  cancelJob,
  createJobs,
  getJob,
  type JobState,
  listJobs,
} from "@rookery/shared/api/jobs.ts";
import { updateSite } from "@rookery/shared/api/sites.ts";
import type { CallInput } from "@rookery/shared/endpoint.ts";
import type { DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import type { AttemptReport } from "@rookery/shared/jobs/result.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { endExpired } from "../../control-plane/jobs/end_expired.ts";
import { reapLeases } from "../../control-plane/jobs/reap.ts";
import {
  addDevice,
  bootByHand,
  enrolAgent,
  type EnrolledAgent,
  makeSite,
  type ManualBoot,
  signResult,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase({ poolSize: 6 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

type Order = CallInput<typeof createJobs>["body"];

async function order(body: Order): Promise<JobId[]> {
  const admin = await plane.administrator();
  return (await admin.call(createJobs, { body })).jobs.map(({ jobId }) => jobId);
}

async function orderOne(body: Order): Promise<JobId> {
  const [jobId = assert.fail("no job"), ...more] = await order(body);
  assert.equal(more.length, 0);
  return jobId;
}

async function read(jobId: JobId) {
  return await (await plane.administrator()).call(getJob, { params: { jobId } });
}

async function logOf(jobId: JobId) {
  const admin = await plane.administrator();
  return (await admin.call(listJobLog, { params: { jobId } })).items;
}

function refused(type: ProblemType, pointer?: string) {
  return (error: unknown) => {
    assert.ok(error instanceof ProblemError, String(error));
    assert.equal(error.type, type, error.message);
    if (pointer !== undefined) assert.equal(error.errors[0]?.pointer, pointer, error.message);
    return true;
  };
}

interface Scene {
  readonly siteId: SiteId;
  readonly deviceIds: readonly [DeviceId, ...DeviceId[]];
}

async function setScene(devices = 1): Promise<Scene> {
  const siteId = await makeSite(plane);
  const first = await addDevice(plane, siteId);
  const rest: DeviceId[] = [];
  for (let n = 1; n < devices; n++) rest.push(await addDevice(plane, siteId));
  return { siteId, deviceIds: [first, ...rest] };
}

async function withAgent(
  siteId: SiteId,
  run: (boot: ManualBoot, agent: EnrolledAgent) => Promise<void>,
): Promise<void> {
  await using agent = await enrolAgent(plane, [siteId]);
  await run(await bootByHand(plane, agent), agent);
}

async function start(boot: ManualBoot, leases: readonly LeaseClaims[]) {
  const leaseIds = leases.map(({ jti }) => jti);
  return await boot.call(sendHeartbeat, { body: { bootId: boot.bootId, leaseIds } });
}

async function end(boot: ManualBoot, lease: LeaseClaims, report: AttemptReport) {
  const result = await signResult(boot, lease, report);
  return await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
}

const UNREACHABLE: AttemptReport = {
  status: "completed",
  outcome: {
    reachable: false,
    stages: [],
    failure: { code: "connection_refused", detail: "nobody listens" },
  },
} as never;

function inAnHour(hours = 1): string {
  return Temporal.Now.instant().add({ minutes: 60 * hours }).toString();
}

Deno.test("schedule a job with various parameters: it keeps what was asked for, waits at once, and its log begins", async () => {
  const { deviceIds: [deviceId] } = await setScene();
  const expiresAt = inAnHour(2);
  const jobId = await orderOne({
    deviceIds: [deviceId],
    kind: "run_commands",
    payload: { commands: ["show version"] },
    priority: 7,
    urgency: "bulk",
    timeoutSeconds: 45,
    expiresAt,
  });
  const job = await read(jobId);
  assert.deepEqual(
    [job.id, job.kind, job.deviceId, job.state, job.priority, job.urgency, job.timeoutSeconds],
    [jobId, "run_commands", deviceId, "available", 7, "bulk", 45],
  );
  assert.deepEqual(job.payload, { commands: ["show version"] });
  assert.equal(Date.parse(job.expiresAt ?? ""), Date.parse(expiresAt));
  assert.ok(Date.parse(job.dueAt) <= Date.now() + 1_000);
  assert.deepEqual((await logOf(jobId)).map(({ event }) => event), ["enqueued"]);
  const admin = await plane.administrator();
  const active = await admin.call(listJobs, { query: { deviceId, state: "available,leased" } });
  assert.deepEqual(active.items.map(({ id }) => id), [jobId]);
});

Deno.test("schedule a job with a future time: it is due exactly then, and is not granted before", async () => {
  const { siteId, deviceIds } = await setScene();
  const at = inAnHour().replace(/\.\d+Z$/, ".123456Z");
  const jobId = await orderOne({ deviceIds: [...deviceIds], at });
  const job = await read(jobId);
  assert.deepEqual([job.state, job.dueAt, job.hold], ["scheduled", at, "not_due"]);
  const now = await orderOne({ deviceIds: [...deviceIds] });
  assert.notEqual(now, jobId, "what is ordered for later is not what is ordered for now");
  await withAgent(siteId, async (boot) => {
    const granted = await boot.claim();
    assert.deepEqual(granted.map(({ sub }) => sub), [now]);
  });
  const scheduled = await (await plane.administrator()).call(listJobs, {
    query: { siteId, state: "scheduled" },
  });
  assert.deepEqual(scheduled.items.map(({ id }) => id), [jobId]);
});

Deno.test("schedule a job with priority: the higher one leaves the queue first, five of them in their order", async () => {
  const { siteId, deviceIds } = await setScene(5);
  const ordered: JobId[] = [];
  for (const [index, deviceId] of deviceIds.entries()) {
    ordered.push(await orderOne({ deviceIds: [deviceId], priority: index }));
  }
  await withAgent(siteId, async (boot) => {
    const granted: JobId[] = [];
    while (granted.length < 5) {
      granted.push(...(await boot.claim({ wanted: 1 })).map(({ sub }) => sub));
    }
    assert.deepEqual(granted, ordered.toReversed());
  });
});

Deno.test("5,000 overdue jobs: 'back up now' is granted next", async () => {
  const { siteId, deviceIds: [deviceId] } = await setScene();
  await sql`
    with made as (
      insert into devices (id, site_id, name, host, platform)
      select gen_random_uuid(), ${siteId}, 'd' || n, 'd' || n || '.test', 'frr'
      from generate_series(1, 5000) n returning id
    ), stated as (
      insert into jobs (site_id, id, device_id, kind, payload, due_at)
      select ${siteId}, gen_random_uuid(), id, 'check_reachability', '{"login": false}',
        now() - interval '2 hours' from made returning id, device_id, due_at
    ), opened as (
      insert into open_jobs (site_id, device_id, kind, payload_key, job_id)
      select ${siteId}, device_id, 'check_reachability', '', id from stated
    )
    insert into ready (site_id, rank, job_id, device_id, kind, due_at, offset_seconds, logs_in)
    select ${siteId}, due_at, id, device_id, 'check_reachability', due_at, 0, false from stated`
    .execute(database.db);
  const now = await orderOne({ deviceIds: [deviceId] });
  await withAgent(siteId, async (boot) => {
    const [next] = await boot.claim({ wanted: 1 });
    assert.equal(next?.sub, now);
  });
});

Deno.test("get the status of a job, and of an unknown id", async () => {
  const { deviceIds } = await setScene();
  const job = await read(await orderOne({ deviceIds: [...deviceIds] }));
  assert.equal(job.state, "available");
  assert.ok(job.createdAt && job.dueAt);
  assert.deepEqual([job.startedAt, job.endedAt, job.durationMs, job.progress], [
    null,
    null,
    null,
    null,
  ]);
  const unknown = crypto.randomUUID() as JobId;
  await assert.rejects(read(unknown), refused("not-found"));
  await assert.rejects(logOf(unknown), refused("not-found"));
});

Deno.test("cancel a waiting, a scheduled, a finished and an unknown job, and again", async () => {
  const admin = await plane.administrator();
  const cancel = (jobId: JobId) => admin.call(cancelJob, { params: { jobId } });
  const { deviceIds } = await setScene();
  for (const at of [undefined, inAnHour()]) {
    const jobId = await orderOne({ deviceIds: [...deviceIds], ...(at ? { at } : {}) });
    assert.deepEqual(await cancel(jobId), { state: "cancelled" });
    assert.equal((await read(jobId)).state, "cancelled");
    assert.deepEqual((await logOf(jobId)).map(({ event }) => event), ["enqueued", "ended"]);
    await assert.rejects(cancel(jobId), refused("conflict"));
  }
  await assert.rejects(cancel(crypto.randomUUID() as JobId), refused("not-found"));
});

Deno.test("cancel during execution stays cancelled, whatever the agent reports afterwards", async () => {
  const admin = await plane.administrator();
  const { siteId, deviceIds } = await setScene();
  const jobId = await orderOne({ deviceIds: [...deviceIds], kind: "check_reachability" });
  await withAgent(siteId, async (boot) => {
    const leases = await boot.claim();
    const [lease = assert.fail()] = leases;
    await start(boot, leases);
    const cancelled = await admin.call(cancelJob, { params: { jobId } });
    assert.deepEqual(cancelled, { state: "requested" });
    assert.deepEqual((await start(boot, leases)).cancel, [lease.jti]);
    assert.equal((await read(jobId)).cancelRequested, true);
    await end(boot, lease, UNREACHABLE);
    const job = await read(jobId);
    assert.deepEqual([job.state, job.cancelRequested], ["cancelled", false]);
    const events = (await logOf(jobId)).map(({ event }) => event);
    assert.deepEqual(events, [
      "enqueued",
      "granted",
      "started",
      "cancel_requested",
      "attempt_ended",
      "ended",
    ]);
  });
});

Deno.test("execute a job: started and ended are set, its duration, its report and its log", async () => {
  const { siteId, deviceIds } = await setScene();
  const jobId = await orderOne({ deviceIds: [...deviceIds], kind: "check_reachability" });
  await withAgent(siteId, async (boot, { identity }) => {
    const [lease = assert.fail()] = await boot.claim();
    await start(boot, [lease]);
    const running = await read(jobId);
    assert.equal(running.state, "leased");
    assert.ok(running.startedAt && running.durationMs !== null);
    await sql`update leases set started_at = started_at - interval '1800 seconds'
      where job_id = ${jobId}`.execute(database.db);
    await end(boot, lease, UNREACHABLE);
    const job = await read(jobId);
    assert.equal(job.state, "completed");
    assert.ok(job.startedAt && job.endedAt);
    const seconds = Math.floor((job.durationMs ?? 0) / 1_000);
    assert.ok(seconds >= 1_800 && seconds < 1_860, `${seconds} s`);
    assert.equal((job.report as { reachable: boolean }).reachable, false);
    assert.equal(job.history[0]?.startedAt, job.startedAt);
    const log = await logOf(jobId);
    assert.match(log.at(-1)?.text ?? "", /^The job is completed$/);
    const granted = log.find(({ event }) => event === "granted");
    assert.match(granted?.text ?? "", /^Attempt 1 granted to agent \d+$/);
    assert.equal(granted?.agentId, identity.agentId);
  });
});

Deno.test("a failure during execution is failed with its reason, in the status and in the log, and times are set", async () => {
  const { siteId, deviceIds } = await setScene();
  const jobId = await orderOne({ deviceIds: [...deviceIds] });
  await withAgent(siteId, async (boot) => {
    const [lease = assert.fail()] = await boot.claim();
    await start(boot, [lease]);
    const failure = { code: "auth_rejected", detail: "login refused" } as const;
    await end(boot, lease, { status: "failed", failure });
    const job = await read(jobId);
    assert.deepEqual([job.state, job.failureCode, job.failureDetail], [
      "failed",
      "auth_rejected",
      "login refused",
    ]);
    assert.ok(job.startedAt && job.endedAt && job.reason);
    const last = (await logOf(jobId)).at(-1);
    assert.deepEqual([last?.level, last?.failureCode], ["error", "auth_rejected"]);
    assert.match(last?.text ?? "", /^The job is failed: auth_rejected\. login refused$/);
  });
});

Deno.test("a retry is in the log with its reason, and the job says when it is tried again", async () => {
  const { siteId, deviceIds } = await setScene();
  const jobId = await orderOne({ deviceIds: [...deviceIds] });
  await withAgent(siteId, async (boot) => {
    const [lease = assert.fail()] = await boot.claim();
    await start(boot, [lease]);
    const failure = { code: "connect_timed_out", detail: "no answer" } as const;
    await end(boot, lease, { status: "failed", failure });
    const job = await read(jobId);
    assert.ok(["scheduled", "available"].includes(job.state), job.state);
    assert.equal(job.failureCode, "connect_timed_out");
    const last = (await logOf(jobId)).at(-1);
    assert.deepEqual([last?.event, last?.level], ["attempt_ended", "warn"]);
    assert.match(last?.text ?? "", /^Attempt 1 failed: connect_timed_out\. no answer$/);
  });
});

Deno.test("queue full: the order is refused, says when to come back, and leaves nothing", async () => {
  const admin = await plane.administrator();
  const { siteId, deviceIds: [first, second] } = await setScene(2);
  await admin.call(updateSite, { params: { siteId }, body: { maxQueued: 1 } });
  await orderOne({ deviceIds: [first] });
  await assert.rejects(
    order({ deviceIds: [second ?? first] }),
    (error) =>
      refused("queue-full")(error) && error instanceof ProblemError &&
      (error.retryAfterSeconds ?? 0) > 0 && /queue/i.test(error.message),
  );
  assert.equal((await admin.call(listJobs, { query: { siteId } })).items.length, 1);
});

Deno.test("invalid parameters: each is refused by its field, and nothing is ordered", async () => {
  const admin = await plane.administrator();
  const { siteId, deviceIds: [deviceId] } = await setScene();
  const one = { deviceIds: [deviceId] };
  const past = Temporal.Now.instant().subtract({ hours: 1 }).toString();
  const cases: readonly (readonly [pointer: string, body: unknown])[] = [
    ["#/kind", { ...one, kind: "" }],
    ["#/kind", { ...one, kind: "unsupported" }],
    ["#/at", { ...one, at: past }],
    ["#/at", { ...one, at: "tomorrow" }],
    ["#/expiresAt", { ...one, expiresAt: past }],
    ["#/expiresAt", { ...one, at: inAnHour(2), expiresAt: inAnHour(1) }],
    ["#/priority", { ...one, priority: 101 }],
    ["#/priority", { ...one, priority: 0.5 }],
    ["#/timeoutSeconds", { ...one, timeoutSeconds: 0 }],
    ["#/timeoutSeconds", { ...one, timeoutSeconds: 3_601 }],
    ["#/urgency", { ...one, urgency: "now" }],
    ["#/payload/commands", { ...one, kind: "run_commands" }],
    ["#/payload/commands/0", {
      ...one,
      kind: "run_commands",
      payload: { commands: ["configure terminal"] },
    }],
    ["#/payload/captures/0", { ...one, payload: { captures: ["no such"] } }],
    ["#/payload/captures/0", { ...one, payload: { captures: ["startup"] } }],
    ["#/payload/surprise", { ...one, payload: { surprise: 1 } }],
    ["#/payload", { ...one, payload: "x" }],
    ["#/deviceIds", {}],
    ["#/deviceIds", { ...one, siteId }],
    ["#/deviceIds", { ...one, tags: "core" }],
    ["#/deviceIds", { deviceIds: [] }],
    ["#/deviceIds/0", { deviceIds: ["core-1"] }],
    ["#/tags", { tags: "core and" }],
    ["#/tags", { tags: "nobody-has-this" }],
    ["#/siteId", { siteId: crypto.randomUUID() }],
    ["#/captures", { ...one, captures: ["running"] }],
  ];
  for (const [pointer, body] of cases) {
    const reply = await plane.fetch("/api/v1/jobs", {
      method: "POST",
      headers: {
        cookie: admin.cookie,
        origin: plane.publicUrl,
        "content-type": "application/json",
      },
      body: JSON.stringify(body),
    });
    const problem = await reply.json();
    assert.equal(reply.status, 422, `${pointer} ${JSON.stringify(problem)}`);
    const pointers = problem.errors.map((field: { pointer: string }) => field.pointer);
    assert.ok(pointers.includes(pointer), `${JSON.stringify(body)}: ${pointers}`);
  }
  assert.deepEqual((await admin.call(listJobs, { query: { siteId } })).items, []);
});

Deno.test("device not found: the order names it, also when it is archived", async () => {
  const admin = await plane.administrator();
  const { deviceIds: [known, archived] } = await setScene(2);
  const unknown = crypto.randomUUID() as DeviceId;
  const call = order({ deviceIds: [known, unknown] });
  await assert.rejects(call, refused("validation", "#/deviceIds/1"));
  await admin.call(archiveDevice, { params: { deviceId: archived ?? unknown } });
  const late = order({ deviceIds: [archived ?? unknown] });
  await assert.rejects(late, refused("validation", "#/deviceIds/0"));
});

Deno.test("a deadline: a job that has not begun by then fails with that reason", async () => {
  const { siteId, deviceIds } = await setScene();
  const jobId = await orderOne({ deviceIds: [...deviceIds], expiresAt: inAnHour() });
  await endExpired(database.db);
  assert.equal((await read(jobId)).state, "available");
  await sql`update ready set expires_at = now() - interval '1 second' where job_id = ${jobId}`
    .execute(database.db);
  await withAgent(siteId, async (boot) => assert.deepEqual(await boot.claim(), []));
  await endExpired(database.db);
  const job = await read(jobId);
  assert.deepEqual([job.state, job.failureCode], ["failed", "not_begun_in_time"]);
  assert.match((await logOf(jobId)).at(-1)?.text ?? "", /not begun by its deadline/);
});

Deno.test("a deadline goes with the order: asked for again without one, a waiting job has none any more", async () => {
  const { deviceIds } = await setScene();
  const one = { deviceIds: [...deviceIds], urgency: "bulk" as const };
  const [early, late] = [inAnHour(1), inAnHour(2)];
  const jobId = await orderOne({ ...one, expiresAt: early });
  assert.equal(await orderOne({ ...one, priority: 1, expiresAt: late }), jobId);
  assert.equal(Date.parse((await read(jobId)).expiresAt ?? ""), Date.parse(late));
  assert.equal(await orderOne({ ...one, priority: 2, expiresAt: early }), jobId);
  assert.equal(Date.parse((await read(jobId)).expiresAt ?? ""), Date.parse(late));
  assert.equal(await orderOne({ ...one, urgency: "interactive" }), jobId);
  assert.equal((await read(jobId)).expiresAt, null);
});

Deno.test("a time-out: the job's own limit goes to the agent, and a lease that passes it is over", async () => {
  const { siteId, deviceIds } = await setScene();
  const jobId = await orderOne({ deviceIds: [...deviceIds], timeoutSeconds: 33 });
  await withAgent(siteId, async (boot) => {
    const [lease = assert.fail()] = await boot.claim();
    assert.equal(lease.limits.totalSeconds, 33);
    await start(boot, [lease]);
    await sql`update leases set deadline_at = now() - interval '1 second' where job_id = ${jobId}`
      .execute(database.db);
    await reapLeases(database.db);
    const job = await read(jobId);
    assert.deepEqual([job.failureCode, job.attempts], ["deadline_passed", 1]);
    const ended = (await logOf(jobId)).find(({ event }) => event === "attempt_ended");
    assert.match(ended?.text ?? "", /expired: deadline_passed\. The attempt passed its deadline/);
  });
});

Deno.test("concurrent: ten jobs run at the same time, and all end well", async () => {
  const { siteId, deviceIds } = await setScene(10);
  const jobs = await order({ deviceIds: [...deviceIds], kind: "check_reachability" });
  await withAgent(siteId, async (boot) => {
    const leases = await boot.claim();
    assert.equal(leases.length, 10);
    await start(boot, leases);
    await Promise.all(leases.map((lease) => end(boot, lease, UNREACHABLE)));
  });
  const states = await Promise.all(jobs.map(async (jobId) => (await read(jobId)).state));
  assert.deepEqual(new Set(states), new Set<JobState>(["completed"]));
});

Deno.test("error recovery: a job that fails holds up no other", async () => {
  const { siteId, deviceIds } = await setScene(2);
  const jobs = await order({ deviceIds: [...deviceIds], kind: "check_reachability" });
  await withAgent(siteId, async (boot) => {
    const [bad = assert.fail(), good = assert.fail()] = await boot.claim();
    await start(boot, [bad, good]);
    await end(boot, bad, { status: "completed", outcome: { nonsense: true } } as never);
    await end(boot, good, UNREACHABLE);
    assert.equal((await read(good.sub)).state, "completed");
    assert.equal((await read(bad.sub)).failureCode, "result_invalid");
    assert.deepEqual([bad.sub, good.sub].sort(), [...jobs].sort());
  });
});

Deno.test("statistics: totals by state and the rate of success, by site and within a span of time", async () => {
  const admin = await plane.administrator();
  const { siteId, deviceIds } = await setScene(4);
  const [first = assert.fail(), , , last = assert.fail()] = deviceIds;
  await order({ deviceIds: [...deviceIds], kind: "check_reachability" });
  const later = await orderOne({ deviceIds: [first], at: inAnHour() });
  await withAgent(siteId, async (boot) => {
    const leases = await boot.claim({ wanted: 3 });
    await start(boot, leases);
    const [one = assert.fail(), two = assert.fail()] = leases;
    await end(boot, one, UNREACHABLE);
    const failure = { code: "refused_by_agent_policy", detail: "not here" } as const;
    await end(boot, two, { status: "failed", failure });
  });
  const counted = await admin.call(jobStatistics, { query: { siteId } });
  assert.deepEqual(counted.states, {
    scheduled: 1,
    available: 1,
    leased: 1,
    completed: 1,
    failed: 1,
    cancelled: 0,
    dead: 0,
  });
  assert.deepEqual([counted.ended, counted.successRate], [2, 0.5]);
  assert.deepEqual(counted.failures, { refused_by_agent_policy: 1 });
  const backups = await admin.call(jobStatistics, { query: { siteId, kind: "backup_config" } });
  assert.deepEqual([backups.states.scheduled, backups.ended], [1, 0]);
  const until = Temporal.Now.instant().subtract({ hours: 1 }).toString();
  const earlier = await admin.call(jobStatistics, { query: { siteId, until } });
  assert.deepEqual([earlier.ended, earlier.successRate], [0, null]);
  const from = Temporal.Now.instant().subtract({ hours: 24 * 40 }).toString();
  const tooLong = admin.call(jobStatistics, { query: { siteId, from } });
  await assert.rejects(tooLong, refused("validation", "?from"));
  assert.ok(later && last);
});

Deno.test("history: filters by state, kind, device, reason, person, time and tags, newest first", async () => {
  const admin = await plane.administrator();
  const { siteId, deviceIds: [one, two] } = await setScene(2);
  const before = inAnHour(0);
  const backup = await orderOne({ deviceIds: [one] });
  const check = await orderOne({ deviceIds: [two ?? one], kind: "check_reachability" });
  await admin.call(cancelJob, { params: { jobId: backup } });
  const find = async (query: CallInput<typeof listJobs>["query"]) => {
    const { items } = await admin.call(listJobs, { query: { siteId, ...query } });
    return items.map(({ id }) => id);
  };
  const { requestedBy } = await read(check);
  assert.deepEqual(await find({}), [check, backup]);
  assert.deepEqual(await find({ kind: "check_reachability" }), [check]);
  assert.deepEqual(await find({ kind: "check_reachability,backup_config" }), [check, backup]);
  assert.deepEqual(await find({ state: "cancelled" }), [backup]);
  assert.deepEqual(await find({ state: "cancelled,available" }), [check, backup]);
  assert.deepEqual(await find({ state: "scheduled,leased,dead" }), []);
  assert.deepEqual(await find({ deviceId: one }), [backup]);
  assert.deepEqual(await find({ requestedBy: requestedBy ?? undefined }), [check, backup]);
  assert.deepEqual(await find({ from: before, until: inAnHour() }), [check, backup]);
  assert.deepEqual(await find({ until: before }), []);
  assert.deepEqual(await find({ failureCode: "auth_rejected" }), []);
  assert.deepEqual(await find({ tags: "nobody-has-this" }), []);
  assert.deepEqual(await find({ tags: "not nobody-has-this" }), [check, backup]);
});
