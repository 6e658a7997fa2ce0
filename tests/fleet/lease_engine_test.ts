import assert from "node:assert/strict";
import { sql } from "kysely";
import type { ClaimId, LeaseId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { cancelJob } from "../../control-plane/jobs/cancel.ts";
import { type GrantedLease, SessionLostError } from "../../control-plane/jobs/claim.ts";
import { recordHeartbeat } from "../../control-plane/jobs/heartbeat.ts";
import { reapLeases, releaseLease, returnAllLeases } from "../../control-plane/jobs/reap.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { testDatabase } from "../support/database.ts";
import {
  age,
  COMPLETED,
  enqueue,
  failed,
  grantOne,
  makeAgent,
  makeSite,
  placeOf,
  type QueueAgent,
  settle,
} from "../support/queue.ts";

const database = testDatabase({ poolSize: 12 });

function accept(agent: QueueAgent, lease: GrantedLease, verdict = COMPLETED, sha256 = "a") {
  return settle(database.db, { agent, lease, verdict, sha256 });
}

Deno.test("claimJobs() grants one lease per job, and the job is in one place only", async () => {
  const site = await makeSite(database.db, { devices: 3 });
  const agent = await makeAgent(database.db, site);
  const jobs = await enqueue(database.db, site);
  const leases = await agent.claim(10);
  assert.deepEqual(
    leases.map((lease) => lease.jobId).sort(),
    jobs.map((job) => job.jobId).sort(),
  );
  for (const { jobId } of jobs) {
    assert.deepEqual((await placeOf(database.db, jobId)).map((row) => row.place), ["leases"]);
  }
  assert.deepEqual(await agent.claim(10), []);
});

Deno.test("claimJobs() gives the same leases to a retry with the same claim id", async () => {
  const site = await makeSite(database.db, { devices: 4 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const claimId = newId<ClaimId>();
  const first = await agent.claim(2, claimId);
  const again = await agent.claim(2, claimId);
  assert.deepEqual(
    again.map((lease) => lease.leaseId).sort(),
    first.map((lease) => lease.leaseId).sort(),
  );
  assert.equal(first.length, 2);
});

Deno.test("claimJobs() keeps the limit of the site and of the agent exactly, with 20 claimers at once", async () => {
  const site = await makeSite(database.db, { devices: 60, maxLive: 7 });
  await enqueue(database.db, site);
  const agents = await Promise.all(
    Array.from({ length: 20 }, () => makeAgent(database.db, site, { capacity: 2 })),
  );
  const leases = (await Promise.all(agents.map((agent) => agent.claim(5)))).flat();
  assert.equal(leases.length, 7);
  assert.equal(new Set(leases.map((lease) => lease.deviceId)).size, 7);
  const { rows } = await sql<{ most: number }>`
    select max(n)::int as most from (
      select count(*) as n from leases where site_id = ${site.siteId} group by agent_id) x`
    .execute(database.db);
  assert.equal(rows[0]?.most, 2);
});

Deno.test("claimJobs() refuses a boot that has no live session", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await age(database.db, { agentId: agent.agentId });
  await assert.rejects(agent.claim(1), SessionLostError);
  const next = await agent.reboot();
  await assert.rejects(agent.claim(1), SessionLostError);
  assert.deepEqual(await next.claim(1), []);
});

Deno.test("claimJobs() grants nothing at a paused site", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  await sql`update sites set paused = true where id = ${site.siteId}`.execute(database.db);
  assert.deepEqual(await agent.claim(1), []);
  await sql`update sites set paused = false where id = ${site.siteId}`.execute(database.db);
  assert.equal((await agent.claim(1)).length, 1);
});

Deno.test("enqueueJobs() makes 'back up now' the next grant among 5,000 jobs two hours overdue", async () => {
  const site = await makeSite(database.db, { devices: 5_001, maxLive: 100 });
  const agent = await makeAgent(database.db, site, { capacity: 100 });
  const [urgent, ...others] = site.deviceIds;
  assert.ok(urgent);
  await enqueue(database.db, site, { deviceIds: others });
  await sql`update ready set due_at = due_at - interval '2 hours', rank = rank - interval '2 hours'
    where site_id = ${site.siteId}`.execute(database.db);
  // Raises this replica's claim floor, which must not hide what comes before it.
  assert.equal((await agent.claim(50)).length, 50);
  await enqueue(database.db, site, { deviceIds: [urgent], urgency: "interactive" });
  assert.equal((await grantOne(agent)).deviceId, urgent);
});

Deno.test("enqueueJobs() takes a second order for a waiting job in, and raises it", async () => {
  const site = await makeSite(database.db, { devices: 2 });
  const agent = await makeAgent(database.db, site);
  const [first, second] = await enqueue(database.db, site);
  assert.ok(first && second);
  const [again] = await enqueue(database.db, site, {
    deviceIds: [second.deviceId],
    urgency: "interactive",
  });
  assert.deepEqual(again, { ...second, coalesced: true });
  assert.equal((await grantOne(agent)).jobId, second.jobId);
});

Deno.test("enqueueJobs() refuses what would overfill the queue, and keeps nothing of it", async () => {
  const site = await makeSite(database.db, { devices: 5, maxQueued: 3 });
  await assert.rejects(
    enqueue(database.db, site),
    (error) =>
      error instanceof ProblemError && error.type === "queue-full" &&
      error.retryAfterSeconds === 60,
  );
  const { rows } = await sql`select 1 from jobs where site_id = ${site.siteId}`.execute(
    database.db,
  );
  assert.equal(rows.length, 0);
  assert.equal(
    (await enqueue(database.db, site, { deviceIds: site.deviceIds.slice(0, 3) })).length,
    3,
  );
});

Deno.test("enqueueJobs() runs a higher priority first", async () => {
  const site = await makeSite(database.db, { devices: 3 });
  const agent = await makeAgent(database.db, site);
  const [low, middle, high] = site.deviceIds;
  assert.ok(low && middle && high);
  await enqueue(database.db, site, { deviceIds: [low], priority: -10 });
  await enqueue(database.db, site, { deviceIds: [middle] });
  await enqueue(database.db, site, { deviceIds: [high], priority: 10 });
  const order = [await grantOne(agent), await grantOne(agent), await grantOne(agent)];
  assert.deepEqual(order.map((lease) => lease.deviceId), [high, middle, low]);
});

Deno.test("recordHeartbeat() starts leases, renews them, and names cancelled and unknown ones", async () => {
  const site = await makeSite(database.db, { devices: 2 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const [first, second] = await agent.claim(2);
  assert.ok(first && second);
  const stranger = newId<LeaseId>();
  await cancelJob(database.db, { siteId: site.siteId, jobId: second.jobId });
  const reply = await recordHeartbeat(database.db, {
    agentId: agent.agentId,
    bootId: agent.bootId,
    leaseIds: [first.leaseId, second.leaseId, stranger],
  });
  assert.deepEqual(reply, { ttlSeconds: 180, cancel: [second.leaseId], unknown: [stranger] });
  await age(database.db, { leaseId: first.leaseId, column: "offer_until" });
  await reapLeases(database.db);
  assert.equal((await placeOf(database.db, first.jobId))[0]?.place, "leases");
});

Deno.test("reapLeases() gives an offer back that was not started, without a failure", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const lease = await grantOne(agent);
  await age(database.db, { leaseId: lease.leaseId, column: "offer_until" });
  await Promise.all([reapLeases(database.db), reapLeases(database.db)]);
  assert.deepEqual(await placeOf(database.db, lease.jobId), [
    { place: "ready", epoch: 1, fails: 0, outcome: null, due: true },
  ]);
  assert.equal((await grantOne(agent)).epoch, 2);
});

Deno.test("reapLeases() takes the leases of a dead session; the first two losses are free", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  let agent = await makeAgent(database.db, site);
  const [job] = await enqueue(database.db, site);
  assert.ok(job);
  for (const fails of [0, 0, 1]) {
    const lease = await grantOne(agent);
    await recordHeartbeat(database.db, { ...agent, leaseIds: [lease.leaseId] });
    await age(database.db, { agentId: agent.agentId });
    await reapLeases(database.db);
    const [place] = await placeOf(database.db, job.jobId);
    assert.equal(place?.place, "ready");
    assert.equal(place.fails, fails);
    await sql`update ready set due_at = now(), rank = now() where job_id = ${job.jobId}`
      .execute(database.db);
    agent = await agent.reboot();
  }
});

Deno.test("reapLeases() counts a passed deadline as a failure", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const lease = await grantOne(agent);
  await recordHeartbeat(database.db, { ...agent, leaseIds: [lease.leaseId] });
  await age(database.db, { leaseId: lease.leaseId, column: "deadline_at" });
  await reapLeases(database.db);
  const [place] = await placeOf(database.db, lease.jobId);
  assert.deepEqual([place?.place, place?.fails], ["ready", 1]);
});

Deno.test("a new boot frees the leases of the old one at once", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const lease = await grantOne(agent);
  await agent.reboot();
  assert.equal((await placeOf(database.db, lease.jobId))[0]?.place, "ready");
});

Deno.test("acceptResult() accepts once, and answers the same envelope the same way for ever", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const lease = await grantOne(agent);
  const answers = await Promise.all(Array.from({ length: 5 }, () => accept(agent, lease)));
  assert.equal(answers.filter((answer) => !answer.duplicate).length, 1);
  assert.deepEqual(new Set(answers.map((answer) => answer.answer)), new Set(["accepted"]));
  assert.deepEqual((await placeOf(database.db, lease.jobId)).map((row) => row.outcome), [
    "completed",
  ]);
  const other = await accept(agent, lease, COMPLETED, "b");
  assert.deepEqual([other.answer, other.settled], ["superseded", undefined]);
});

Deno.test("acceptResult() takes a late result while nobody holds a newer epoch", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const lease = await grantOne(agent);
  await age(database.db, { agentId: agent.agentId });
  await reapLeases(database.db);
  await age(database.db, { leaseId: lease.leaseId, column: "offer_until" });
  await reapLeases(database.db);
  const answer = await accept(agent, lease);
  assert.deepEqual([answer.answer, answer.settled?.outcome], ["accepted_late", "completed"]);
});

Deno.test("acceptResult() changes no state for a result of an old epoch", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const slow = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const old = await grantOne(slow);
  await age(database.db, { leaseId: old.leaseId, column: "offer_until" });
  await reapLeases(database.db);
  const fast = await makeAgent(database.db, site);
  const newer = await grantOne(fast);
  const before = await placeOf(database.db, old.jobId);
  assert.equal((await accept(slow, old, failed("unreachable"))).answer, "superseded");
  assert.deepEqual(await placeOf(database.db, old.jobId), before);
  assert.equal((await accept(fast, newer)).answer, "accepted");
  assert.equal((await accept(slow, old, COMPLETED, "again")).answer, "superseded");
  const { rows } = await sql<{ outcome: string }>`
    select outcome from attempts where job_id = ${old.jobId} order by id`.execute(database.db);
  assert.equal(rows.filter((row) => row.outcome === "superseded").length, 2);
});

Deno.test("acceptResult() does not take another agent's word for a lease", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const holder = await makeAgent(database.db, site);
  const other = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const lease = await grantOne(holder);
  assert.equal((await accept(other, lease)).answer, "superseded");
  assert.equal((await placeOf(database.db, lease.jobId))[0]?.place, "leases");
});

Deno.test("acceptResult() retries by failure class: transport later, a refused password never", async () => {
  const site = await makeSite(database.db, { devices: 2 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const [first, second] = await agent.claim(2);
  assert.ok(first && second);
  assert.equal((await accept(agent, first, failed("unreachable"))).settled?.outcome, "waiting");
  assert.equal((await accept(agent, second, failed("auth_rejected"))).settled?.outcome, "failed");
  const [waiting] = await placeOf(database.db, first.jobId);
  assert.deepEqual([waiting?.place, waiting?.fails], ["ready", 1]);
  // The report was answered: a repetition is a duplicate, and not a late result of the same epoch.
  const again = await accept(agent, first, failed("unreachable"));
  assert.deepEqual([again.answer, again.duplicate], ["accepted", true]);
  assert.equal((await accept(agent, first, COMPLETED, "b")).answer, "superseded");
});

Deno.test("acceptResult() lets a job die after its attempts, and a later success closes it", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  const [job] = await enqueue(database.db, site);
  assert.ok(job);
  const outcomes = [];
  for (let attempt = 0; attempt < 5; attempt++) {
    const lease = await grantOne(agent);
    outcomes.push((await accept(agent, lease, failed("device_busy"))).settled?.outcome);
    await sql`update ready set due_at = now(), rank = now() where job_id = ${job.jobId}`
      .execute(database.db);
  }
  assert.deepEqual(outcomes, ["waiting", "waiting", "waiting", "waiting", "dead"]);
  await enqueue(database.db, site);
  await accept(agent, await grantOne(agent));
  const { rows } = await sql`
    select 1 from done where job_id = ${job.jobId} and closed_at is not null`.execute(database.db);
  assert.equal(rows.length, 1);
});

Deno.test("cancelJob() ends a waiting job, asks for a leased one, and says when it is too late", async () => {
  const site = await makeSite(database.db, { devices: 2 });
  const agent = await makeAgent(database.db, site, { capacity: 1 });
  await enqueue(database.db, site);
  const lease = await grantOne(agent);
  const { rows: [waiting] } = await sql<{ jobId: typeof lease.jobId }>`
    select job_id from ready where site_id = ${site.siteId}`.execute(database.db);
  assert.ok(waiting);
  const cancel = (jobId: typeof lease.jobId) =>
    cancelJob(database.db, { siteId: site.siteId, jobId });
  assert.equal(await cancel(waiting.jobId), "cancelled");
  assert.equal(await cancel(waiting.jobId), "ended");
  assert.equal(await cancel(lease.jobId), "requested");
  assert.equal(await cancel(newId()), "unknown");
  const late = await accept(agent, lease, COMPLETED);
  assert.equal(late.settled?.outcome, "cancelled");
  const open = await sql`select 1 from open_jobs where site_id = ${site.siteId}`.execute(
    database.db,
  );
  assert.equal(open.rows.length, 0);
});

Deno.test("releaseLease() gives back what the agent did not start, at once and unchanged", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const lease = await grantOne(agent);
  const release = (agentId: typeof agent.agentId) =>
    inTransaction(database.db, (tx) => releaseLease(tx, { ...lease, agentId }));
  assert.equal(await release(newId()), false);
  assert.equal(await release(agent.agentId), true);
  assert.deepEqual((await placeOf(database.db, lease.jobId))[0], {
    place: "ready",
    epoch: 1,
    fails: 0,
    outcome: null,
    due: true,
  });
});

Deno.test("returnAllLeases() takes everything from a revoked agent, and its result with it", async () => {
  const site = await makeSite(database.db, { devices: 3 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const leases = await agent.claim(3);
  assert.equal(
    await inTransaction(database.db, (tx) => returnAllLeases(tx, agent.agentId)),
    leases.length,
  );
  const { rows } = await sql`select 1 from leases where agent_id = ${agent.agentId}`
    .execute(database.db);
  assert.equal(rows.length, 0);
});
