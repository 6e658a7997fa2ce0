import assert from "node:assert/strict";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import { updateDevice } from "@rookery/shared/api/devices.ts";
import { createJobs, getJob, listJobs } from "@rookery/shared/api/jobs.ts";
import { createPolicy } from "@rookery/shared/api/policies.ts";
import {
  deletePolicy,
  disablePolicy,
  enablePolicy,
  getPolicy,
  listOccurrences,
  listPolicies,
  previewPolicy,
  previewSchedule,
  runPolicy,
  updatePolicy,
} from "@rookery/shared/api/policies.ts";
import type { CallOptions } from "@rookery/shared/client.ts";
import type { AnyEndpoint, CallInput } from "@rookery/shared/endpoint.ts";
import type { DeviceId, PolicyId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { addDevice, bootByHand, enrolAgent } from "../support/agent_bench.ts";
import { type Person, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { databaseNow, jobsOf, type PolicyBody, setScene, tickAt } from "../support/policies.ts";

const database = testDatabase({ poolSize: 6 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

function problem(type: ProblemType, pointer?: string) {
  return (error: unknown) => {
    assert.ok(error instanceof ProblemError, String(error));
    assert.deepEqual([error.type, pointer && error.errors[0]?.pointer], [type, pointer]);
    return true;
  };
}

/** Tomorrow at a time of day in UTC. */
async function tomorrowAt(time: string, days = 1): Promise<Temporal.Instant> {
  const now = await databaseNow(database.db);
  const date = now.toZonedDateTimeISO("UTC").toPlainDate().add({ days });
  return date.toZonedDateTime({ timeZone: "UTC", plainTime: time }).toInstant();
}

async function policyOf(admin: Person, policyId: PolicyId) {
  return await admin.call(getPolicy, { params: { policyId } });
}

async function ledgerOf(admin: Person, policyId: PolicyId) {
  const { items } = await admin.call(listOccurrences, { params: { policyId } });
  return items.map(({ trigger, decision, reason }) => [trigger, decision, reason]);
}

Deno.test("recurrent daily: a policy that starts tomorrow at 12:00 runs then first, and is on record", async () => {
  await using scene = await setScene(plane);
  const startAt = (await tomorrowAt("00:00")).toString();
  const id = await scene.add({ schedule: { kind: "daily", time: "12:00", startAt } });
  const policy = await policyOf(scene.admin, id);
  assert.deepEqual(policy.schedule, { kind: "daily", time: "12:00", timeZone: "UTC", startAt });
  assert.equal(policy.nextAt, (await tomorrowAt("12:00")).toString());
  assert.equal(policy.createdByName, "admin");
  const { items: [row] } = await scene.admin.call(listAuditRows, { query: { targetId: id } });
  assert.equal(row?.action, "policy.create");
});

Deno.test("recurrent weekly: Mondays at 14:00, from next week on", async () => {
  await using scene = await setScene(plane);
  const startAt = (await tomorrowAt("00:00", 7)).toString();
  const schedule: PolicyBody["schedule"] = {
    kind: "weekly",
    weekdays: ["monday"],
    time: "14:00",
    startAt,
  };
  const { nextAt } = await policyOf(scene.admin, await scene.add({ schedule }));
  const next = Temporal.Instant.from(nextAt ?? "").toZonedDateTimeISO("UTC");
  assert.deepEqual([next.dayOfWeek, next.hour, next.minute], [1, 14, 0]);
  assert.ok(next.epochMilliseconds >= Date.parse(startAt));
  assert.ok(next.epochMilliseconds < Date.parse(startAt) + 7 * 86_400_000);
});

Deno.test("recurrent monthly: on day 1 at 01:00, and next execution after each run", async () => {
  await using scene = await setScene(plane);
  const id = await scene.add({ schedule: { kind: "monthly", day: 1, time: "01:00" } });
  const { runs } = await scene.admin.call(previewPolicy, { params: { policyId: id } });
  assert.equal(runs.length, 20);
  assert.ok(runs.every(({ at }) => at.slice(8) === "01T01:00:00Z"));
  assert.equal((await policyOf(scene.admin, id)).nextAt, runs[0]?.at);
});

Deno.test("next execution: after a daily run at 12:00 it is the next day at 12:00", async () => {
  await using scene = await setScene(plane);
  const id = await scene.add();
  const first = Temporal.Instant.from((await policyOf(scene.admin, id)).nextAt ?? "");
  await tickAt(database.db, first.add({ seconds: 2 }));
  assert.equal((await policyOf(scene.admin, id)).nextAt, first.add({ hours: 24 }).toString());
  assert.deepEqual(await ledgerOf(scene.admin, id), [["schedule", "ran", null]]);
});

Deno.test("load, sync and disable: what is stored runs, what is added joins in, what is disabled does not", async () => {
  await using scene = await setScene(plane, 2);
  const { admin } = scene;
  const daily = await scene.add();
  const other = { selection: { deviceIds: [...scene.deviceIds.slice(0, 1)] } };
  const weekly = await scene.add({
    schedule: { kind: "weekly", weekdays: ["monday", "sunday"], time: "12:00" },
    ...other,
  });
  const sunday = (await databaseNow(database.db)).toZonedDateTimeISO("UTC");
  const day = sunday.add({ days: 7 + 7 - sunday.dayOfWeek }).withPlainTime("12:00");
  // Both are brought to that Sunday; what was before is missed, or runs and is of no interest here.
  await tickAt(database.db, day.subtract({ hours: 1 }).toInstant());
  const added = await scene.add(other);
  await admin.call(disablePolicy, { params: { policyId: weekly } });
  assert.equal((await policyOf(admin, weekly)).nextAt, null);
  const ticked = await tickAt(database.db, day.toInstant());
  assert.ok(ticked.decided >= 3);
  const last = async (id: PolicyId) => (await ledgerOf(admin, id))[0];
  assert.deepEqual((await last(daily))?.[1], "coalesced");
  assert.deepEqual(await last(weekly), ["schedule", "skipped", "disabled"]);
  assert.deepEqual((await last(added))?.[0], "schedule");
});

Deno.test("process due jobs: a run of once that is five minutes overdue is made, and never again", async () => {
  await using scene = await setScene(plane, 2);
  const at = (await databaseNow(database.db)).add({ hours: 1 }).round("second");
  const id = await scene.add({ schedule: { kind: "once", at: at.toString() } });
  await tickAt(database.db, at.subtract({ seconds: 1 }));
  assert.deepEqual(await jobsOf(database.db, id), []);
  await tickAt(database.db, at.add({ minutes: 5, seconds: 1 }));
  const jobs = await jobsOf(database.db, id);
  assert.deepEqual(jobs.map(({ deviceId }) => deviceId).sort(), [...scene.deviceIds].sort());
  assert.ok(jobs.every(({ occurrenceAt }) => occurrenceAt.equals(at)));
  await tickAt(database.db, at.add({ hours: 24 }));
  assert.equal((await jobsOf(database.db, id)).length, 2);
  assert.equal((await policyOf(scene.admin, id)).nextAt, null);
});

Deno.test("createPolicy() refuses what is invalid with 422, and unknown devices and sites with 404, by the field", async () => {
  await using scene = await setScene(plane);
  const past = (await databaseNow(database.db)).subtract({ minutes: 1 }).toString();
  const nobody = crypto.randomUUID() as DeviceId;
  const daily = { kind: "daily", time: "02:00" } as const;
  const refused: [Partial<PolicyBody>, ProblemType, string][] = [
    [{ name: "" }, "validation", "#/name"],
    [{ kind: "" as never }, "validation", "#/kind"],
    [{ kind: "reboot" as never }, "validation", "#/kind"],
    [{ payload: { captures: ["no name"] } }, "validation", "#/payload/captures/0"],
    [{ schedule: { kind: "once", at: past } }, "validation", "#/schedule/at"],
    [{ schedule: { ...daily, timeZone: "Mars/Base" } }, "validation", "#/schedule/timeZone"],
    [
      { schedule: { kind: "cron", expression: "0 0 31 2 *" } },
      "validation",
      "#/schedule/expression",
    ],
    [
      { schedule: { kind: "cron", expression: "0 * * * * *" } },
      "validation",
      "#/schedule/expression",
    ],
    [{ blackouts: [{ from: "11:00", to: "13:00" }] }, "validation", "#/blackouts"],
    [{ jitterMinutes: 1_440 }, "validation", "#/jitterMinutes"],
    [{ priority: 101 }, "validation", "#/priority"],
    [{ selection: { tags: "core and" } }, "validation", "#/selection/tags"],
    [{ selection: { deviceIds: [nobody], tags: "core" } }, "validation", "#/selection/deviceIds"],
    [
      { selection: { deviceIds: [...scene.deviceIds, nobody] } },
      "not-found",
      "#/selection/deviceIds/1",
    ],
    [
      { selection: { siteIds: [crypto.randomUUID() as SiteId] } },
      "not-found",
      "#/selection/siteIds/0",
    ],
  ];
  for (const [body, type, pointer] of refused) {
    await assert.rejects(scene.add(body), problem(type, pointer), JSON.stringify(body));
  }
  const { items } = await scene.admin.call(listPolicies, { query: { siteId: scene.siteId } });
  assert.deepEqual(items, []);
});

Deno.test("a policy that is not there is 404, whatever is asked of it", async () => {
  const admin = await plane.administrator();
  const params = { policyId: crypto.randomUUID() as PolicyId };
  const calls = [
    () => admin.call(getPolicy, { params }),
    () => admin.call(updatePolicy, { params, body: { name: "x" } }),
    () => admin.call(enablePolicy, { params }),
    () => admin.call(disablePolicy, { params }),
    () => admin.call(runPolicy, { params }),
    () => admin.call(previewPolicy, { params }),
    () => admin.call(listOccurrences, { params }),
    () => admin.call(deletePolicy, { params }),
  ];
  for (const call of calls) await assert.rejects(call(), problem("not-found"));
});

Deno.test("a read-only caller is refused with 403 on create, update, toggle, run and delete, and may read", async () => {
  await using scene = await setScene(plane);
  const policyId = await scene.add();
  const call = await tokenCaller(scene.admin, { permissions: ["policies:read"] });
  const params = { policyId };
  const body = {
    name: "x",
    kind: "backup_config",
    schedule: { kind: "daily", time: "12:00" },
  } as const;
  const refused = [
    () => call(createPolicy, { body }),
    () => call(updatePolicy, { params, body: { name: "x" } }),
    () => call(enablePolicy, { params }),
    () => call(disablePolicy, { params }),
    () => call(runPolicy, { params }),
    () => call(deletePolicy, { params }),
  ];
  for (const one of refused) await assert.rejects(one(), problem("forbidden"));
  assert.equal((await call(getPolicy, { params })).id, policyId);
  assert.deepEqual(
    (await call(previewSchedule, { body: { schedule: body.schedule } })).runs.length,
    20,
  );
});

Deno.test("updatePolicy() keeps other fields, changes daily to weekly, and plans anew at once", async () => {
  await using scene = await setScene(plane);
  const policyId = await scene.add({ priority: 7, payload: { captures: ["running"] } });
  const schedule: PolicyBody["schedule"] = {
    kind: "weekly",
    weekdays: ["friday"],
    time: "03:00",
  };
  const before = await policyOf(scene.admin, policyId);
  const policy = await scene.admin.call(updatePolicy, { params: { policyId }, body: { schedule } });
  assert.deepEqual({ ...policy, schedule: 0, nextAt: 0, updatedAt: 0 }, {
    ...before,
    ...{ schedule: 0, nextAt: 0, updatedAt: 0 },
  });
  const next = Temporal.Instant.from(policy.nextAt ?? "").toZonedDateTimeISO("UTC");
  assert.deepEqual([next.dayOfWeek, next.hour], [5, 3]);
  // The old time comes and nothing happens.
  if (before.nextAt !== null && before.nextAt < (policy.nextAt ?? "")) {
    await tickAt(database.db, before.nextAt);
    assert.deepEqual(await jobsOf(database.db, policyId), []);
  }
  await assert.rejects(
    scene.admin.call(updatePolicy, { params: { policyId }, body: { payload: { x: 1 } } }),
    problem("validation", "#/payload/x"),
  );
});

Deno.test("toggle twice: a policy is disabled and enabled again, and runs from its next run on", async () => {
  await using scene = await setScene(plane);
  const params = { policyId: await scene.add() };
  const { nextAt } = await scene.admin.call(getPolicy, { params });
  const disabled = await scene.admin.call(disablePolicy, { params });
  assert.deepEqual([disabled.enabled, disabled.nextAt], [false, null]);
  const enabled = await scene.admin.call(enablePolicy, { params });
  assert.deepEqual([enabled.enabled, enabled.nextAt], [true, nextAt]);
});

Deno.test("run now makes a job for each device, also of a disabled policy, and says what it did", async () => {
  await using scene = await setScene(plane, 3);
  const { admin, deviceIds } = scene;
  await admin.call(createJobs, { body: { deviceIds: deviceIds.slice(0, 1) } });
  const params = { policyId: await scene.add({ enabled: false }) };
  const occurrence = await admin.call(runPolicy, { params });
  assert.deepEqual(
    [occurrence.trigger, occurrence.decision, occurrence.jobs, occurrence.coalesced],
    ["manual", "ran", 2, 1],
  );
  const jobs = await jobsOf(database.db, params.policyId);
  assert.equal(jobs.length, 2);
  // A person asked for them: they do not go with the policy.
  await admin.call(deletePolicy, { params });
  await tickAt(database.db, await databaseNow(database.db));
  for (const { id } of jobs) {
    const { state } = await admin.call(getJob, { params: { jobId: id } });
    assert.equal(state, "available");
  }
});

Deno.test("deletePolicy() is 204, then 404, and cancels what waits for the sake of the policy alone", async () => {
  await using scene = await setScene(plane, 3);
  const { admin, deviceIds: [asked = assert.fail()] } = scene;
  const params = { policyId: await scene.add() };
  const { nextAt } = await admin.call(getPolicy, { params });
  await tickAt(database.db, nextAt ?? "");
  await admin.call(createJobs, { body: { deviceIds: [asked] } });
  assert.equal(await admin.call(deletePolicy, { params }), undefined);
  await assert.rejects(admin.call(deletePolicy, { params }), problem("not-found"));
  await assert.rejects(admin.call(getPolicy, { params }), problem("not-found"));
  const jobs = await jobsOf(database.db, params.policyId);
  const outcomes = jobs.map(({ deviceId, outcome }) => [deviceId === asked, outcome]);
  assert.deepEqual(outcomes.sort(), [[false, "cancelled"], [false, "cancelled"], [true, null]]);
  assert.equal(jobs.find(({ outcome }) => outcome)?.detail, "Its policy was disabled or deleted");
});

Deno.test("disablePolicy() lets running jobs end, and cancels those that wait or were only offered", async () => {
  await using scene = await setScene(plane, 3);
  const { admin, siteId } = scene;
  const params = { policyId: await scene.add({ schedule: { kind: "interval", everyMinutes: 1 } }) };
  const { nextAt } = await admin.call(getPolicy, { params });
  await database
    .sql`update policies set next_at = date_trunc('minute', now()) where id = ${params.policyId}`;
  assert.ok(nextAt);
  await tickAt(database.db, await databaseNow(database.db));
  await using agent = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, agent);
  const [running = assert.fail(), offered = assert.fail()] = await boot.claim({ wanted: 2 });
  await database.sql`update leases set running = true where id = ${running.jti}`;
  await admin.call(disablePolicy, { params });
  const leases = await database.sql<{ id: string; cancelRequested: boolean }[]>`
    select id, cancel_requested as "cancelRequested" from leases where site_id = ${siteId}`;
  assert.deepEqual(
    Object.fromEntries(leases.map(({ id, cancelRequested }) => [id, cancelRequested])),
    { [running.jti]: false, [offered.jti]: true },
  );
  const outcomes = (await jobsOf(database.db, params.policyId)).map(({ outcome }) => outcome);
  assert.deepEqual(outcomes.filter((outcome) => outcome), ["cancelled"]);
});

Deno.test("updatePolicy() orders what waits again, as the policy is now", async () => {
  await using scene = await setScene(plane, 3);
  const { admin, deviceIds } = scene;
  const params = { policyId: await scene.add() };
  const { nextAt } = await admin.call(getPolicy, { params });
  await tickAt(database.db, nextAt ?? "");
  const selection = { deviceIds: [...deviceIds.slice(0, 2)] };
  const payload = { captures: ["running"] };
  await admin.call(updatePolicy, { params, body: { selection, payload } });
  const jobs = await jobsOf(database.db, params.policyId);
  const waiting = jobs.filter(({ outcome }) => outcome === null);
  assert.deepEqual(waiting.map(({ deviceId }) => deviceId).sort(), selection.deviceIds.sort());
  assert.ok(waiting.every((job) => JSON.stringify(job.payload) === JSON.stringify(payload)));
  assert.equal(jobs.filter(({ outcome }) => outcome === "cancelled").length, 3);
  assert.deepEqual(await ledgerOf(admin, params.policyId), [
    ["change", "ran", null],
    ["schedule", "ran", null],
  ]);
  // Its name alone changes nothing of its jobs.
  await admin.call(updatePolicy, { params, body: { name: "renamed" } });
  assert.equal((await jobsOf(database.db, params.policyId)).length, jobs.length);
});

Deno.test("listPolicies() filters by device, site, kind and enabled, and pages", async () => {
  await using scene = await setScene(plane, 2);
  const { admin, siteId, deviceIds: [tagged = assert.fail(), plain = assert.fail()] } = scene;
  await using elsewhere = await setScene(plane, 1);
  await admin.call(updateDevice, { params: { deviceId: tagged }, body: { tags: ["Core"] } });
  const bySite = await scene.add();
  const byTag = await scene.add({ selection: { siteIds: [siteId], tags: "core and not lab" } });
  const byDevice = await scene.add({ selection: { deviceIds: [plain] }, enabled: false });
  const foreign = await elsewhere.add();
  const ids = async (query: CallInput<typeof listPolicies>["query"]) =>
    (await admin.call(listPolicies, { query: query ?? {} })).items.map(({ id }) => id);
  assert.deepEqual(await ids({ deviceId: tagged }), [bySite, byTag]);
  assert.deepEqual(await ids({ deviceId: plain }), [bySite, byDevice]);
  assert.deepEqual(await ids({ siteId }), [bySite, byTag, byDevice]);
  assert.deepEqual(await ids({ siteId, enabled: "false" }), [byDevice]);
  assert.deepEqual(await ids({ siteId, kind: "backup_config", enabled: "true" }), [bySite, byTag]);
  assert.deepEqual(await ids({ siteId: elsewhere.siteId }), [foreign]);
  assert.deepEqual(await ids({ deviceId: crypto.randomUUID() as DeviceId }), []);
  const first = await admin.call(listPolicies, { query: { siteId, limit: 2 } });
  const query = { siteId, limit: 2, cursor: first.nextCursor ?? assert.fail() };
  assert.deepEqual(await ids(query), [byDevice]);
  const named = await policyOf(admin, byDevice);
  assert.deepEqual(named.devices.map(({ id, platform }) => [id, platform]), [[plain, "frr"]]);
});

Deno.test("a policy is of any kind of job, and its payload is read by its kind", async () => {
  await using scene = await setScene(plane);
  const { admin, siteId } = scene;
  const policyId = await scene.add({
    kind: "check_reachability",
    schedule: { kind: "interval", everyMinutes: 15 },
  });
  const commands = { kind: "run_commands", payload: { commands: "reload" } } as const;
  await assert.rejects(scene.add(commands), problem("validation", "#/payload/commands"));
  await assert.rejects(
    scene.add({ kind: "run_commands", payload: { commands: ["reload"] } }),
    problem("validation", "#/payload/commands/0"),
  );
  await assert.rejects(
    admin.call(updatePolicy, { params: { policyId }, body: { kind: "run_commands" } }),
    problem("validation", "#/payload/commands"),
  );
  await tickAt(database.db, (await policyOf(admin, policyId)).nextAt ?? "");
  const { items } = await admin.call(listJobs, { query: { policyId } });
  assert.deepEqual(items.map(({ kind, policyId }) => [kind, policyId]), [[
    "check_reachability",
    policyId,
  ]]);
  const { items: found } = await admin.call(listPolicies, {
    query: { siteId, kind: "check_reachability" },
  });
  assert.deepEqual(found.map(({ id }) => id), [policyId]);
});

Deno.test("listOccurrences() pages through the ledger from the newest decision on, and filters it", async () => {
  await using scene = await setScene(plane);
  const { admin } = scene;
  const params = { policyId: await scene.add({ misfire: "skip" }) };
  const { nextAt } = await admin.call(getPolicy, { params });
  const first = Temporal.Instant.from(nextAt ?? "");
  await tickAt(database.db, first);
  await tickAt(database.db, first.add({ hours: 24 * 4 + 1 }));
  const pages: string[][] = [];
  let cursor: string | undefined;
  do {
    const query = { limit: 2, ...(cursor === undefined ? {} : { cursor }) };
    const page = await admin.call(listOccurrences, { params, query });
    pages.push(page.items.map(({ at }) => at));
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  const days = [4, 3, 2, 1, 0].map((day) => first.add({ hours: 24 * day }).toString());
  assert.deepEqual(pages, [days.slice(0, 2), days.slice(2, 4), days.slice(4)]);
  const skipped = await admin.call(listOccurrences, { params, query: { decision: "skipped" } });
  assert.deepEqual(skipped.items.map(({ reason }) => reason), Array(4).fill("missed"));
});

Deno.test("previewSchedule() shows wall times and blackouts, and keeps nothing", async () => {
  const admin = await plane.administrator();
  const count = async () =>
    (await database.sql`select count(*)::int as n from policies`)[0]?.n as number;
  const before = await count();
  const timeZone = "Europe/Oslo";
  const { runs } = await admin.call(previewSchedule, {
    body: {
      schedule: { kind: "cron", expression: "0 1,13 * * *", timeZone },
      blackouts: [{ from: "22:00", to: "06:00" }],
    },
  });
  assert.equal(runs.length, 20);
  assert.ok(
    runs.every(({ localTime, blackout }) =>
      /T(01|13):00:00\+0[12]:00$/.test(localTime) && blackout === localTime.includes("T01:")
    ),
  );
  assert.equal(await count(), before);
});

Deno.test("a caller of one site sees, makes and changes policies of that site alone", async () => {
  await using own = await setScene(plane);
  await using other = await setScene(plane);
  const mine = await own.add();
  const hidden = [
    await other.add(),
    await own.add({ selection: {} }),
    await own.add({ selection: { siteIds: [own.siteId, other.siteId] } }),
    await own.add({ selection: { deviceIds: [...own.deviceIds, ...other.deviceIds] } }),
  ];
  const call = await tokenCaller(own.admin, {
    permissions: ["policies:read", "policies:write"],
    siteIds: [own.siteId],
  });
  const { items } = await call(listPolicies, {});
  assert.deepEqual(items.map(({ id }) => id), [mine]);
  for (const policyId of hidden) {
    for (const endpoint of [getPolicy, previewPolicy, listOccurrences, runPolicy, deletePolicy]) {
      await assert.rejects(
        call(endpoint as typeof getPolicy, { params: { policyId } }),
        problem("not-found"),
      );
    }
  }
  const query = { deviceId: other.deviceIds[0] ?? assert.fail() };
  assert.deepEqual((await call(listPolicies, { query })).items, []);
  const make = (selection: PolicyBody["selection"]) =>
    call(createPolicy, {
      body: {
        ...{ name: "mine", kind: "backup_config", selection },
        schedule: { kind: "daily", time: "12:00" },
      },
    });
  await assert.rejects(make({}), problem("validation", "#/selection/siteIds"));
  await assert.rejects(make({ siteIds: [other.siteId] }), problem("not-found"));
  await assert.rejects(make({ deviceIds: [...other.deviceIds] }), problem("not-found"));
  const made = await make({ siteIds: [own.siteId] });
  await assert.rejects(
    call(updatePolicy, { params: { policyId: made.id }, body: { selection: { tags: "x" } } }),
    problem("validation", "#/selection/siteIds"),
  );
  await call(deletePolicy, { params: { policyId: made.id } });
});

Deno.test("a device that is added later belongs to the next run, and an archived one does not", async () => {
  await using scene = await setScene(plane, 1);
  const params = { policyId: await scene.add() };
  const { nextAt } = await scene.admin.call(getPolicy, { params });
  const late = await addDevice(plane, scene.siteId);
  await database.sql`update devices set archived_at = now() where id = ${scene.deviceIds[0] ?? ""}`;
  await tickAt(database.db, nextAt ?? "");
  const jobs = await jobsOf(database.db, params.policyId);
  assert.deepEqual(jobs.map(({ deviceId }) => deviceId), [late]);
});

/** Calls as a token that may do less than its person. */
async function tokenCaller(
  admin: Person,
  limits: Pick<CallInput<typeof createApiToken>["body"], "permissions" | "siteIds">,
) {
  const { secret } = await admin.call(createApiToken, { body: { name: "limited", ...limits } });
  const options: CallOptions = { headers: { authorization: `Bearer ${secret}` } };
  return <E extends AnyEndpoint>(endpoint: E, input: CallInput<E>) =>
    plane.call(endpoint, input, options);
}
