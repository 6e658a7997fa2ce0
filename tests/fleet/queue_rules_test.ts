/** What keeps a queue fair and its devices alive: shares, limits that adapt, windows, maintenance. */
import assert from "node:assert/strict";
import { sql } from "kysely";
import type { ClaimId, DeviceId, SiteId, TenantId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import { noteConnectFailure, raiseLimits } from "../../control-plane/jobs/care_for_sites.ts";
import { claimJobs } from "../../control-plane/jobs/claim.ts";
import { ClaimFloors } from "../../control-plane/jobs/claim_floor.ts";
import { callBackUntouchable, putOffUntouchable } from "../../control-plane/jobs/device_windows.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { testDatabase } from "../support/database.ts";
import { enqueue, makeAgent, makeSite, placeOf, type QueueSite } from "../support/queue.ts";

const database = testDatabase({ poolSize: 4 });

async function claimAt(sites: readonly QueueSite[], wanted: number) {
  const [first = assert.fail()] = sites;
  const { agentId, bootId } = await makeAgent(database.db, first, { capacity: 100 });
  const claim = {
    ...{ agentId, bootId, wanted, siteIds: sites.map(({ siteId }) => siteId) },
    ...{ claimId: newId<ClaimId>(), platforms: ["frr"], kinds: ["backup_config"] },
  };
  const leases = await claimJobs(database.db, claim, new ClaimFloors());
  const again = await claimJobs(database.db, claim, new ClaimFloors());
  const ids = (of: typeof leases) => of.map(({ leaseId }) => leaseId).toSorted();
  assert.deepEqual(ids(again), ids(leases), "the same claim gets the same leases");
  return sites.map(({ siteId }) => leases.filter((lease) => lease.siteId === siteId).length);
}

async function siteOf(options: { devices: number; maxLive?: number; tenantId?: TenantId }) {
  const site = await makeSite(database.db, { maxLive: 100, ...options });
  if (options.tenantId) {
    await sql`update sites set tenant_id = ${options.tenantId} where id = ${site.siteId}`
      .execute(database.db);
  }
  await enqueue(database.db, site);
  return site;
}

async function makeTenant(): Promise<TenantId> {
  const id = newId<TenantId>();
  await sql`insert into tenants (id, name) values (${id}, ${`tenant ${id}`})`.execute(database.db);
  return id;
}

Deno.test("claimJobs() shares an agent out among tenants, then among their sites", async () => {
  const tenantId = await makeTenant();
  const other = await makeTenant();
  const sites = [
    await siteOf({ devices: 50, tenantId }),
    await siteOf({ devices: 50, tenantId }),
    await siteOf({ devices: 50, tenantId: other }),
  ];
  assert.deepEqual(await claimAt(sites, 20), [5, 5, 10]);
});

Deno.test("claimJobs() gives what one site has no use for to the others", async () => {
  const sites = [
    await siteOf({ devices: 2 }),
    await siteOf({ devices: 50 }),
    await siteOf({ devices: 1 }),
  ];
  assert.deepEqual(await claimAt(sites, 30), [2, 27, 1]);
});

Deno.test("claimJobs() grants nothing in maintenance, and goes on after it", async () => {
  const site = await siteOf({ devices: 2 });
  const agent = await makeAgent(database.db, site);
  const [running] = await agent.claim(1);
  await sql`update installation set maintenance = true`.execute(database.db);
  try {
    assert.deepEqual(await agent.claim(5), []);
    assert.equal((await placeOf(database.db, running?.jobId ?? assert.fail()))[0]?.place, "leases");
  } finally {
    await sql`update installation set maintenance = false`.execute(database.db);
  }
  assert.equal((await agent.claim(5)).length, 1);
});

async function limitOf(siteId: SiteId): Promise<number | null | undefined> {
  const { rows: [site] } = await sql<{ liveLimit: number | null }>`
    select live_limit from sites where id = ${siteId}`.execute(database.db);
  return site?.liveLimit;
}

/** Moves the time of what a site knows of time-outs back. */
async function wait(siteId: SiteId, seconds: number): Promise<void> {
  const by = sql`make_interval(secs => ${seconds}::int)`;
  await sql`update connect_timeouts set at = at - ${by} where site_id = ${siteId}`
    .execute(database.db);
  await sql`update sites set live_limit_at = live_limit_at - ${by} where id = ${siteId}`
    .execute(database.db);
}

Deno.test("noteConnectFailure() halves a site's limit once a wave, and never below one", async () => {
  const { siteId, deviceIds } = await siteOf({ devices: 20, maxLive: 10 });
  const timeOut = async (devices: readonly DeviceId[]) => {
    for (const deviceId of devices) {
      await noteConnectFailure(database.db, { siteId, deviceId }, "connect_timed_out");
    }
  };
  await timeOut([...deviceIds.slice(0, 2), ...deviceIds.slice(0, 2)]);
  assert.equal(await limitOf(siteId), null, "two dead devices are no sign");
  await timeOut(deviceIds.slice(2, 12));
  assert.equal(await limitOf(siteId), 5);
  for (const left of [2, 1, 1]) {
    await wait(siteId, 31);
    await timeOut(deviceIds.slice(12, 16));
    assert.equal(await limitOf(siteId), left);
  }
});

Deno.test("noteConnectFailure() takes only silence for a sign", async () => {
  const { siteId, deviceIds } = await siteOf({ devices: 6, maxLive: 10 });
  for (const deviceId of deviceIds) {
    await noteConnectFailure(database.db, { siteId, deviceId }, "connection_refused");
    await noteConnectFailure(database.db, { siteId, deviceId }, "auth_rejected");
  }
  assert.equal(await limitOf(siteId), null);
});

Deno.test("a halved limit is the limit, and rises by one with every quiet minute", async () => {
  const site = await siteOf({ devices: 20, maxLive: 8 });
  const { siteId, deviceIds } = site;
  for (const deviceId of deviceIds.slice(0, 3)) {
    await noteConnectFailure(database.db, { siteId, deviceId }, "banner_timed_out");
  }
  assert.equal(await limitOf(siteId), 4);
  const agent = await makeAgent(database.db, site, { capacity: 100 });
  assert.equal((await agent.claim(20)).length, 4);
  await raiseLimits(database.db);
  assert.equal(await limitOf(siteId), 4, "not before a minute");
  for (const limit of [5, 6, 7, null]) {
    await wait(siteId, 61);
    await raiseLimits(database.db);
    await raiseLimits(database.db);
    assert.equal(await limitOf(siteId), limit);
  }
  assert.equal((await agent.claim(20)).length, 4);
});

Deno.test("starts_per_minute spreads the sessions of a site over time", async () => {
  const site = await siteOf({ devices: 60 });
  await sql`update sites set starts_per_minute = 60, starts_left = 60, starts_at = now()
    where id = ${site.siteId}`.execute(database.db);
  const agent = await makeAgent(database.db, site, { capacity: 100 });
  const pass = (seconds: number) =>
    sql`update sites set starts_at = starts_at - make_interval(secs => ${seconds}::int)
      where id = ${site.siteId}`.execute(database.db);
  assert.equal((await agent.claim(50)).length, 10, "no more is saved up than those of ten seconds");
  assert.equal((await agent.claim(50)).length, 0);
  await pass(3);
  assert.equal((await agent.claim(50)).length, 3);
  await pass(300);
  assert.equal((await agent.claim(50)).length, 10);
});

/** Whether a device with this window may be touched at a local time, and when the next time is. */
async function touch(window: Record<string, unknown>, local: string, zone = "Europe/Berlin") {
  const windows = JSON.stringify([window]);
  const { rows: [row] } = await sql<{ may: boolean; next: string }>`
    select may_touch(w, ${zone}, at) as may,
      to_char(next_touch(w, ${zone}, at) at time zone ${zone}, 'Dy HH24:MI') as next
    from (select ${windows}::text::jsonb as w, ${local}::timestamp at time zone ${zone} as at) x`
    .execute(database.db);
  return row;
}

Deno.test("may_touch() and next_touch() keep to windows over midnight, to weekdays and to the site's clock", async () => {
  const night = { from: "22:00", to: "06:00" };
  // 2026-03-02 is a Monday.
  assert.deepEqual(await touch(night, "2026-03-02 21:59"), { may: false, next: "Mon 22:00" });
  assert.deepEqual(await touch(night, "2026-03-02 22:00"), { may: true, next: "Tue 22:00" });
  assert.equal((await touch(night, "2026-03-03 05:59"))?.may, true);
  assert.equal((await touch(night, "2026-03-03 06:00"))?.may, false);
  const monday = { ...night, weekdays: ["monday"] };
  assert.equal((await touch(monday, "2026-03-03 05:00"))?.may, true, "it began on Monday");
  assert.deepEqual(await touch(monday, "2026-03-03 23:00"), { may: false, next: "Mon 22:00" });
  const day = { from: "00:00", to: "24:00", weekdays: ["sunday"] };
  assert.equal((await touch(day, "2026-03-08 23:59"))?.may, true);
  assert.equal((await touch(day, "2026-03-09 00:00"))?.may, false);
  // In the night of 2026-03-29 there is no 02:30 in Berlin: it is the first moment that there is.
  const gap = { from: "02:30", to: "04:00" };
  assert.deepEqual(await touch(gap, "2026-03-29 01:59"), { may: false, next: "Sun 03:30" });
  assert.equal((await touch(gap, "2026-03-29 03:00"))?.may, true);
});

Deno.test("a device is left alone outside its windows, also by 'back up now', and its jobs are put off till then", async () => {
  const site = await makeSite(database.db, { devices: 2 });
  const [closed = assert.fail(), open = assert.fail()] = site.deviceIds;
  const { rows: [now] } = await sql<{ from: string; to: string }>`
    select to_char(now() at time zone 'UTC' + interval '2 hours', 'HH24:00') as "from",
      to_char(now() at time zone 'UTC' + interval '3 hours', 'HH24:00') as "to"`.execute(
    database.db,
  );
  await sql`update devices set windows = ${JSON.stringify([now])}::text::jsonb where id = ${closed}`
    .execute(database.db);
  const jobs = await enqueue(database.db, site, { urgency: "interactive" });
  const agent = await makeAgent(database.db, site);
  assert.deepEqual((await agent.claim(5)).map(({ deviceId }) => deviceId), [open]);
  assert.equal(await putOffUntouchable(database.db), 1);
  assert.equal(await putOffUntouchable(database.db), 0);
  const jobId = jobs.find(({ deviceId }) => deviceId === closed)?.jobId ?? assert.fail();
  assert.equal((await placeOf(database.db, jobId))[0]?.due, false);
  await sql`update devices set windows = null where id = ${closed}`.execute(database.db);
  await inTransaction(
    database.db,
    (tx) => callBackUntouchable(tx, { siteId: site.siteId, deviceId: closed }),
  );
  assert.deepEqual((await agent.claim(5)).map(({ deviceId }) => deviceId), [closed]);
});

Deno.test("enqueueJobs() refuses what would overfill the queue of all sites, and keeps nothing of it", async () => {
  const { rows: [before] } = await sql<{ open: number }>`
    select count(*)::int as open from open_jobs`.execute(database.db);
  const site = await makeSite(database.db, { devices: 5 });
  // A table that has grown is counted; a small one cannot hold that many.
  await sql`insert into open_jobs (site_id, device_id, kind, payload_key, job_id)
    select gen_random_uuid(), gen_random_uuid(), 'x', repeat('x', 4000), gen_random_uuid()
    from generate_series(1, 200)`.execute(database.db);
  await sql`update installation set max_queued = ${(before?.open ?? 0) + 203}`.execute(database.db);
  try {
    await assert.rejects(
      enqueue(database.db, site),
      (error) =>
        error instanceof ProblemError && error.type === "queue-full" &&
        /all sites/.test(error.message) && error.retryAfterSeconds === 60,
    );
    assert.equal(
      (await enqueue(database.db, site, { deviceIds: site.deviceIds.slice(0, 3) })).length,
      3,
    );
  } finally {
    await sql`update installation set max_queued = 1000000`.execute(database.db);
    await sql`delete from open_jobs where kind = 'x'`.execute(database.db);
  }
});
