import assert from "node:assert/strict";
import { createJobs } from "@rookery/shared/api/jobs.ts";
import {
  createPolicy,
  disablePolicy,
  getPolicy,
  listOccurrences,
  runPolicy,
} from "@rookery/shared/api/policies.ts";
import { updateSite } from "@rookery/shared/api/sites.ts";
import type { PolicyId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { nextRuns } from "@rookery/shared/schedules/next_runs.ts";
import { Schedule } from "@rookery/shared/schedules/schedule.ts";
import { readClock } from "../../control-plane/policies/clock.ts";
import { setNextAt } from "../../control-plane/policies/store.ts";
import { forgetOldRuns, refreshPlans } from "../../control-plane/policies/tick.ts";
import { STEP } from "../../control-plane/policies/work_share.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { databaseNow, jobsOf, type Scene, setScene, tickAt } from "../support/policies.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database);

async function nextOf({ admin }: Scene, policyId: PolicyId): Promise<Temporal.Instant> {
  const { nextAt } = await admin.call(getPolicy, { params: { policyId } });
  return Temporal.Instant.from(nextAt ?? assert.fail("it has no next run"));
}

/** Oldest run first. */
async function ledgerOf({ admin }: Scene, policyId: PolicyId) {
  const { items } = await admin.call(listOccurrences, { params: { policyId } });
  return items.toReversed();
}

async function decisionsOf(scene: Scene, policyId: PolicyId) {
  return (await ledgerOf(scene, policyId)).map(({ decision, reason }) => reason ?? decision);
}

Deno.test("tickPolicies() at the same time on several replicas makes each run once, and again changes nothing", async () => {
  await using scene = await setScene(plane, 3);
  await using other = await setScene(plane, 2);
  const selection = { siteIds: [scene.siteId, other.siteId] };
  const ids = [];
  for (let n = 0; n < 4; n++) ids.push(await scene.add({ selection }));
  const noon = await nextOf(scene, ids[0] ?? assert.fail());
  await Promise.all([1, 2, 3].map(() => tickAt(database.db, noon)));
  const jobs = (await Promise.all(ids.map((id) => jobsOf(database.db, id)))).flat();
  assert.deepEqual(
    jobs.map(({ deviceId }) => deviceId).sort(),
    [...scene.deviceIds, ...other.deviceIds].sort(),
  );
  const ledger = (await Promise.all(ids.map((id) => ledgerOf(scene, id)))).flat();
  assert.equal(ledger.length, 4);
  const sums = ledger.map(({ jobs, coalesced, skipped }) => [jobs + coalesced, skipped]);
  assert.deepEqual(sums, Array(4).fill([5, 0]));
  assert.equal(ledger.reduce((sum, { jobs }) => sum + jobs, 0), 5);
  const again = await tickAt(database.db, noon);
  assert.deepEqual(again, { decided: 0, steps: 0, cancelled: 0 });
  // Not even when somebody sets the clock of the policy back.
  for (const id of ids) await setNextAt(database.db, id, noon);
  assert.equal((await tickAt(database.db, noon)).steps, 0);
  assert.equal((await Promise.all(ids.map((id) => ledgerOf(scene, id)))).flat().length, 4);
});

Deno.test("tickPolicies() makes one run up after three days away, or none by `skip`, and writes each down", async () => {
  await using scene = await setScene(plane);
  const [once, skip] = [await scene.add(), await scene.add({ misfire: "skip" })];
  const noon = await nextOf(scene, once);
  const now = noon.add({ hours: 49 });
  await tickAt(database.db, now);
  assert.deepEqual(await decisionsOf(scene, once), ["missed", "missed", "ran"]);
  assert.deepEqual(await decisionsOf(scene, skip), ["missed", "missed", "missed"]);
  const [job = assert.fail()] = await jobsOf(database.db, once);
  assert.deepEqual([job.occurrenceAt.toString(), job.dueAt.toString()], [
    noon.add({ hours: 48 }).toString(),
    now.toString(),
  ]);
  assert.equal((await nextOf(scene, skip)).toString(), noon.add({ hours: 72 }).toString());
});

Deno.test("tickPolicies() writes down every run of a long absence, a batch at a time", async () => {
  await using scene = await setScene(plane);
  const schedule = { kind: "interval", everyMinutes: 1 } as const;
  const id = await scene.add({ schedule });
  const first = await nextOf(scene, id);
  await tickAt(database.db, first.add({ minutes: 1_200 }));
  const rows = await database.sql<{ reason: string | null; count: number }[]>`
    select reason, count(*)::int as count from occurrences where policy_id = ${id}
    group by 1 order by 1`;
  assert.deepEqual(rows.map(({ reason, count }) => [reason, count]), [["missed", 1_200], [
    null,
    1,
  ]]);
  assert.equal((await jobsOf(database.db, id)).length, 1);
});

Deno.test("tickPolicies() makes no run in a blackout, and what is made up waits for its end", async () => {
  await using scene = await setScene(plane);
  const blackouts = [{ from: "20:00", to: "04:00" }];
  const cron = { kind: "cron", expression: "0 12,22 * * *" } as const;
  const id = await scene.add({ schedule: cron, blackouts });
  const start = await nextOf(scene, id);
  const noon = start.toZonedDateTimeISO("UTC").hour === 12 ? start : start.add({ hours: 14 });
  await setNextAt(database.db, id, noon);
  const late = noon.add({ hours: 12 });
  await tickAt(database.db, late);
  // At midnight the run of 22:00 is forbidden, that of noon is made up as soon as it may be.
  const ledger = await ledgerOf(scene, id);
  assert.deepEqual(
    ledger.map(({ at, decision, reason }) => [at, reason ?? decision]).sort(),
    [[noon.toString(), "ran"], [noon.add({ hours: 10 }).toString(), "blackout"]],
  );
  const [job = assert.fail()] = await jobsOf(database.db, id);
  assert.equal(job.dueAt.toString(), noon.add({ hours: 16 }).toString());
});

Deno.test("runPolicy() is refused while a blackout window is open, and says until when", async () => {
  await using scene = await setScene(plane);
  const now = (await databaseNow(database.db)).toZonedDateTimeISO("UTC");
  const clock = (time: Temporal.ZonedDateTime) => time.toPlainTime().toString().slice(0, 5);
  const blackouts = [{ from: clock(now.subtract({ hours: 1 })), to: clock(now.add({ hours: 1 })) }];
  const time = clock(now.add({ hours: 4 }));
  const policyId = await scene.add({ blackouts, schedule: { kind: "daily", time } });
  await assert.rejects(
    scene.admin.call(runPolicy, { params: { policyId } }),
    (error: unknown) =>
      error instanceof ProblemError && error.type === "conflict" &&
      error.message.includes(`until ${now.add({ hours: 1 }).toInstant().toString().slice(0, 16)}`),
  );
  assert.deepEqual(await ledgerOf(scene, policyId), []);
});

Deno.test("tickPolicies() spreads devices over the jitter, each at its own place every night", async () => {
  await using scene = await setScene(plane, 24);
  const id = await scene.add({ jitterMinutes: 60, startWithinMinutes: 30 });
  const noon = await nextOf(scene, id);
  await tickAt(database.db, noon);
  await database.sql`delete from ready where site_id = ${scene.siteId}`;
  await database.sql`delete from open_jobs where site_id = ${scene.siteId}`;
  await tickAt(database.db, noon.add({ hours: 24 }));
  const jobs = await jobsOf(database.db, id);
  const places = Map.groupBy(jobs, ({ deviceId }) => deviceId).values().map((nights) =>
    nights.map(({ occurrenceAt, dueAt }) => occurrenceAt.until(dueAt).total("seconds"))
  ).toArray();
  assert.equal(places.length, 24);
  for (const [first = -1, second] of places) {
    assert.equal(first, second);
    assert.ok(first >= 0 && first < 3_600);
  }
  // Of 24 in the hour some are early and some are late, or something is wrong one time in 2^23.
  assert.ok(new Set(places.map(([place = 0]) => place < 1_800)).size === 2);
  const rows = await database.sql<{ seconds: string }[]>`
    select distinct extract(epoch from expires_at - due_at)::int as seconds from jobs
    where policy_id = ${id}`;
  assert.deepEqual(rows.map(({ seconds }) => seconds), [1_800]);
});

Deno.test("tickPolicies() ranks the jobs of a run that it finds a little late no earlier than now, where floors hide them", async () => {
  await using scene = await setScene(plane);
  const id = await scene.add({ schedule: { kind: "interval", everyMinutes: 1 } });
  const now = await databaseNow(database.db);
  await setNextAt(database.db, id, now.subtract({ minutes: 3 }));
  await tickAt(database.db, now);
  const [row] = await database.sql<{ isLate: boolean; dueLate: boolean }[]>`
    select rank >= ${now.toString()} as "isLate", due_at >= ${now.toString()} as "dueLate"
    from ready where site_id = ${scene.siteId}`;
  assert.deepEqual({ ...row }, { isLate: true, dueLate: true });
});

Deno.test("tickPolicies() ends the jitter where a blackout begins", async () => {
  await using scene = await setScene(plane, 12);
  const blackouts = [{ from: "12:10", to: "18:00" }];
  const id = await scene.add({ jitterMinutes: 600, blackouts });
  const noon = await nextOf(scene, id);
  await tickAt(database.db, noon);
  const jobs = await jobsOf(database.db, id);
  assert.equal(jobs.length, 12);
  const end = noon.add({ minutes: 10 });
  assert.ok(jobs.every(({ dueAt }) => Temporal.Instant.compare(dueAt, end) < 0));
});

Deno.test("tickPolicies() says coalesced where every device has such a job, and no device where there is none", async () => {
  await using scene = await setScene(plane, 2);
  const { admin, siteId } = scene;
  const [whole, none] = [
    await scene.add(),
    await scene.add({ selection: { siteIds: [siteId], tags: "nowhere" } }),
  ];
  await admin.call(createJobs, { body: { siteId } });
  await tickAt(database.db, await nextOf(scene, whole));
  const [row] = await ledgerOf(scene, whole);
  assert.deepEqual([row?.decision, row?.jobs, row?.coalesced], ["coalesced", 0, 2]);
  assert.deepEqual(await decisionsOf(scene, none), ["no_device"]);
});

Deno.test("enqueueJobs() gives a waiting job of a policy the time that whoever asks for it again would have", async () => {
  await using scene = await setScene(plane);
  const { admin, siteId, deviceIds } = scene;
  const short = await scene.add({ startWithinMinutes: 30 });
  const noon = await nextOf(scene, short);
  await tickAt(database.db, noon);
  const deadlines = async () => {
    const rows = await database.sql<{ inQueue: string | null; onRecord: string | null }[]>`
      select extract(epoch from r.expires_at - ${noon.toString()})::int as "inQueue",
        extract(epoch from j.expires_at - ${noon.toString()})::int as "onRecord"
      from ready r join jobs j on j.site_id = r.site_id and j.id = r.job_id
      where r.site_id = ${siteId}`;
    return rows.map(({ inQueue, onRecord }) => [inQueue, onRecord]);
  };
  assert.deepEqual(await deadlines(), [[1_800, 1_800]]);
  const long = await scene.add({
    schedule: { kind: "once", at: noon.add({ minutes: 1 }).toString() },
    startWithinMinutes: 60,
  });
  await tickAt(database.db, noon.add({ minutes: 1 }));
  assert.deepEqual(await decisionsOf(scene, long), ["coalesced"]);
  assert.deepEqual(await deadlines(), [[3_660, 3_660]]);
  await admin.call(createJobs, { body: { deviceIds: [...deviceIds] } });
  assert.deepEqual(await deadlines(), [[null, null]]);
});

Deno.test("tickPolicies() leaves out devices whose driver cannot do what is asked, and says so", async () => {
  await using scene = await setScene(plane, 2);
  await database.sql`
    update devices set platform = 'no_driver' where id = ${scene.deviceIds[0] ?? ""}`;
  const id = await scene.add({ payload: { captures: ["running"] } });
  await tickAt(database.db, await nextOf(scene, id));
  const [row] = await ledgerOf(scene, id);
  assert.deepEqual([row?.decision, row?.reason, row?.jobs, row?.skipped], [
    ...["ran", "unsupported"],
    ...[1, 1],
  ]);
});

Deno.test("tickPolicies() says queue full of a site that has no room, and serves the others", async () => {
  await using full = await setScene(plane, 3);
  await using free = await setScene(plane, 2);
  const params = { siteId: full.siteId };
  await full.admin.call(updateSite, { params, body: { maxQueued: 2 } });
  const [both, alone] = [
    await full.add({ selection: { siteIds: [full.siteId, free.siteId] } }),
    await full.add(),
  ];
  const noon = await nextOf(full, both);
  await tickAt(database.db, noon);
  const [row] = await ledgerOf(full, both);
  assert.deepEqual([row?.decision, row?.reason, row?.jobs], ["ran", "queue_full", 2]);
  assert.deepEqual(await decisionsOf(full, alone), ["queue_full"]);
  const open = await database.sql`select 1 from open_jobs where site_id = ${full.siteId}`;
  assert.equal(open.length, 0);
  // There is room again: the next run is made, the queue lost nothing.
  await full.admin.call(updateSite, { params, body: { maxQueued: 3 } });
  await tickAt(database.db, noon.add({ hours: 24 }));
  const next = (await ledgerOf(full, alone))[1];
  assert.equal((next?.jobs ?? 0) + (next?.coalesced ?? 0), 3);
});

Deno.test("workShares() makes no job of a run twice, although a site is given its share again and the first one ended", async () => {
  await using scene = await setScene(plane, 2);
  const { siteId } = scene;
  const id = await scene.add();
  await tickAt(database.db, await nextOf(scene, id));
  const [run = assert.fail()] = await ledgerOf(scene, id);
  await database.sql`delete from ready where site_id = ${siteId}`;
  await database.sql`delete from open_jobs where site_id = ${siteId}`;
  await database.sql`
    insert into occurrence_sites (site_id, occurrence_id, policy_id)
    values (${siteId}, ${run.id}, ${id})`;
  assert.equal((await tickAt(database.db, run.at)).steps, 1);
  assert.equal((await jobsOf(database.db, id)).length, 2);
  assert.deepEqual(await decisionsOf(scene, id), ["ran"]);
});

Deno.test("workShares() takes a large site in steps, and every device of it once", async () => {
  await using scene = await setScene(plane);
  await database.sql`
    insert into devices (id, site_id, name, host, platform)
    select gen_random_uuid(), ${scene.siteId}, 'large ' || n, '192.0.2.' || n, 'frr'
    from generate_series(1, ${2 * STEP}) n`;
  const id = await scene.add();
  const ticked = await tickAt(database.db, await nextOf(scene, id));
  assert.equal(ticked.steps, 3);
  const [row] = await ledgerOf(scene, id);
  assert.deepEqual([row?.decision, row?.jobs], ["ran", 2 * STEP + 1]);
  const jobs = await jobsOf(database.db, id);
  assert.equal(new Set(jobs.map(({ deviceId }) => deviceId)).size, 2 * STEP + 1);
});

Deno.test("forgetOldRuns() drops lines of the ledger after 90 days, and policies that are long deleted", async () => {
  await using scene = await setScene(plane);
  const [kept, gone] = [await scene.add({ misfire: "skip" }), await scene.add()];
  const noon = await nextOf(scene, kept);
  await tickAt(database.db, noon);
  await tickAt(database.db, noon.add({ hours: 24 }));
  const old = "now() - interval '91 days'";
  await database.sql.unsafe(`
    update occurrences set decided_at = ${old} where policy_id in ('${kept}', '${gone}')
      and at = '${noon}';
    update policies set deleted_at = ${old} where id = '${gone}';
    delete from open_jobs where policy_id = '${gone}'`);
  await forgetOldRuns(database.db);
  assert.equal((await ledgerOf(scene, kept)).length, 1);
  const rows = await database.sql`
    select id from policies where id in ${database.sql([kept, gone])}`;
  assert.deepEqual(rows.map(({ id }) => id), [kept]);
});

Deno.test("a database error while working loses nothing: the rest is made with the next tick, once", async () => {
  await using broken = await setScene(plane, 2);
  await using sound = await setScene(plane, 2);
  const id = await broken.add({ selection: { siteIds: [broken.siteId, sound.siteId] } });
  const noon = await nextOf(broken, id);
  await database.sql.unsafe(`
    create function fail_on_purpose() returns trigger language plpgsql as
      $$ begin raise exception 'disk full'; end $$;
    create trigger fail_on_purpose before insert on jobs for each row
      when (new.site_id = '${broken.siteId}') execute function fail_on_purpose()`);
  await assert.rejects(tickAt(database.db, noon));
  await assert.rejects(tickAt(database.db, noon));
  const [halfway] = await ledgerOf(broken, id);
  assert.deepEqual([halfway?.decision, halfway?.jobs], [null, 2]);
  await database.sql.unsafe("drop function fail_on_purpose() cascade");
  await tickAt(database.db, noon);
  const [row] = await ledgerOf(broken, id);
  assert.deepEqual([row?.decision, row?.jobs], ["ran", 4]);
  assert.equal((await jobsOf(database.db, id)).length, 4);
});

Deno.test("a policy that cannot be read keeps no other one from running", async () => {
  await using scene = await setScene(plane, 1);
  const [bad, good] = [await scene.add(), await scene.add()];
  const noon = await nextOf(scene, good);
  const broken = { kind: "cron", expression: "never" };
  await database.sql`
    update policies set schedule = ${database.sql.json(broken)}, next_at = '2026-01-01T00:00:00Z'
    where id = ${bad}`;
  await assert.rejects(
    tickAt(database.db, noon),
    (error: unknown) => error instanceof Error && error.message.includes(bad),
  );
  assert.deepEqual(await decisionsOf(scene, good), ["ran"]);
  await database.sql`update policies set deleted_at = now() where id = ${bad}`;
});

Deno.test("what waits again for a policy that was disabled meanwhile is cancelled by the tick", async () => {
  await using scene = await setScene(plane, 1);
  const policyId = await scene.add();
  const noon = await nextOf(scene, policyId);
  await tickAt(database.db, noon);
  // As a running job that fails and comes back after its policy was disabled.
  const rows = await database.sql`delete from ready where site_id = ${scene.siteId} returning *`;
  await scene.admin.call(disablePolicy, { params: { policyId } });
  await database.sql`insert into ready ${database.sql(rows as never)}`;
  assert.equal((await tickAt(database.db, noon)).cancelled, 1);
  assert.deepEqual((await jobsOf(database.db, policyId)).map(({ outcome }) => outcome), [
    "cancelled",
  ]);
});

for (
  const [zone, time, day, expected] of [
    // Skipped: 02:30 of that day runs when the clock has jumped to 03:00.
    ["Europe/Oslo", "02:30", "2027-03-28", "2027-03-28T01:00:00Z"],
    // Repeated: the first of the two.
    ["Europe/Oslo", "02:30", "2027-10-31", "2027-10-31T00:30:00Z"],
    ["Australia/Lord_Howe", "02:15", "2027-10-03", "2027-10-02T15:30:00Z"],
    ["Africa/Casablanca", "02:30", "2027-02-07", "2027-02-07T01:30:00Z"],
    ["America/Nuuk", "23:30", "2027-03-27", "2027-03-28T01:00:00Z"],
  ] as const
) {
  Deno.test(`tickPolicies() runs ${time} in ${zone} once on ${day}`, async () => {
    await using scene = await setScene(plane);
    const id = await scene.add({ schedule: { kind: "daily", time, timeZone: zone } });
    const begin = Temporal.PlainDate.from(day).toZonedDateTime({
      timeZone: zone,
      plainTime: "00:00",
    }).toInstant();
    await setNextAt(database.db, id, begin);
    await tickAt(database.db, begin);
    const around = Temporal.Instant.from(expected);
    for (let minutes = -70; minutes <= 130; minutes += 5) {
      await tickAt(database.db, around.add({ minutes }));
    }
    await tickAt(database.db, begin.add({ hours: 26 }));
    const runs = (await ledgerOf(scene, id)).filter(({ at }) =>
      Temporal.Instant.from(at).toZonedDateTimeISO(zone).toPlainDate().toString() === day ||
      at === expected
    );
    assert.deepEqual(runs.map(({ at, decision }) => [at, decision]), [[expected, "ran"]]);
  });
}

Deno.test("refreshPlans() moves what the rules of a time zone moved, and a run that was made is not made again", async () => {
  await using scene = await setScene(plane);
  const id = await scene.add();
  const noon = await nextOf(scene, id);
  await setNextAt(database.db, id, noon.add({ minutes: 30 }));
  await refreshPlans(database.db);
  assert.equal((await nextOf(scene, id)).toString(), noon.toString());
  await tickAt(database.db, noon);
  // The same wall time an hour later, as by other rules of the zone: the ledger knows it by its key.
  await database.sql`update occurrences set at = at - interval '1 hour' where policy_id = ${id}`;
  await setNextAt(database.db, id, noon);
  await tickAt(database.db, noon);
  assert.equal((await ledgerOf(scene, id)).length, 1);
});

Deno.test("readClock() is the database's clock", async () => {
  const before = await databaseNow(database.db);
  const now = await readClock(database.db);
  assert.ok(Temporal.Instant.compare(now, before) >= 0);
  const daily = Schedule.parse({ kind: "daily", time: "12:00" });
  const policy = await (await plane.administrator()).call(createPolicy, {
    body: { name: "clock", kind: "backup_config", schedule: daily },
  });
  const [next] = nextRuns(daily, { after: now, count: 1 });
  assert.equal(policy.nextAt, next?.at.toString());
  await database.sql`update policies set deleted_at = now() where id = ${policy.id}`;
});
