/** What guards the lease engine against the same moment: each test holds one transaction where another one has to wait. */
import assert from "node:assert/strict";
import { sql } from "kysely";
import { upsertSession } from "../../control-plane/agents/store.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { acceptResult } from "../../control-plane/jobs/accept.ts";
import { cancelJob } from "../../control-plane/jobs/cancel.ts";
import { SessionLostError } from "../../control-plane/jobs/claim.ts";
import { recordHeartbeat } from "../../control-plane/jobs/heartbeat.ts";
import { reapLeases } from "../../control-plane/jobs/reap.ts";
import { testDatabase } from "../support/database.ts";
import {
  age,
  attemptOf,
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
import { makeCredential } from "../support/ramp.ts";
import { inTheSameMoment } from "../support/same_moment.ts";

const database = testDatabase({ poolSize: 6 });

/** One device, one agent, one job that waits. */
async function setQueue() {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  return { site, agent };
}

/** One device, one agent, one lease of it. */
async function setScene() {
  const { site, agent } = await setQueue();
  const lease = await grantOne(agent);
  const place = async () => (await placeOf(database.db, lease.jobId)).map((row) => row.place);
  return { site, agent, lease, place };
}

Deno.test("reapLeases() leaves the leases of a session that is opened again in the same moment", async () => {
  const { agent, place } = await setScene();
  const { agentId, bootId } = agent;
  await age(database.db, { agentId });
  // The session's row is held by whoever opens it: the reaper does not wait for that, and passes it over.
  await inTransaction(database.db, async (tx) => {
    await upsertSession(tx, { agentId, bootId, capacity: 10, ttlSeconds: 180 });
    await reapLeases(database.db);
  });
  assert.deepEqual(await place(), ["leases"]);
  await age(database.db, { agentId });
  await reapLeases(database.db);
  assert.deepEqual(await place(), ["ready"]);
});

Deno.test("reapLeases() looks again at an offer that is started while it waits for it", async () => {
  const { lease, place } = await setScene();
  await age(database.db, { leaseId: lease.leaseId, column: "offer_until" });
  await inTheSameMoment(database, {
    first: (tx) => sql`update leases set running = true where id = ${lease.leaseId}`.execute(tx),
    second: () => reapLeases(database.db),
  });
  assert.deepEqual(await place(), ["leases"]);
});

Deno.test("acceptResult() takes nothing of an old epoch from the agent that holds the new one", async () => {
  const { agent, lease: old, place } = await setScene();
  await age(database.db, { leaseId: old.leaseId, column: "offer_until" });
  await reapLeases(database.db);
  const lease = await grantOne(agent);
  assert.equal(lease.epoch, 2);
  for (const verdict of [COMPLETED, failed("unreachable")]) {
    const told = { agent, lease: old, verdict, sha256: `old ${verdict.status}` };
    assert.equal((await settle(database.db, told)).answer, "superseded");
  }
  assert.deepEqual(await place(), ["leases"]);
  // Lost and waiting again: late is only what comes under the newest epoch.
  await age(database.db, { leaseId: lease.leaseId, column: "offer_until" });
  await reapLeases(database.db);
  const again = { agent, lease: old, verdict: COMPLETED, sha256: "older" };
  assert.equal((await settle(database.db, again)).answer, "superseded");
  const late = { agent, lease, verdict: COMPLETED, sha256: "late" };
  assert.equal((await settle(database.db, late)).answer, "accepted_late");
});

Deno.test("acceptResult() takes no word of another agent about a lease, neither of success nor of failure", async () => {
  const { site, lease, place } = await setScene();
  const other = await makeAgent(database.db, site);
  for (const verdict of [COMPLETED, failed("unreachable")]) {
    const told = { agent: other, lease, verdict, sha256: verdict.status };
    assert.equal((await settle(database.db, told)).answer, "superseded");
    assert.deepEqual(await place(), ["leases"]);
  }
});

Deno.test("a lease that is to be cancelled ends cancelled, whatever comes of it", async () => {
  for (const verdict of [COMPLETED, failed("unreachable"), undefined]) {
    const { site, agent, lease } = await setScene();
    await cancelJob(database.db, { siteId: site.siteId, jobId: lease.jobId });
    if (verdict) await settle(database.db, { agent, lease, verdict, sha256: "a" });
    else await age(database.db, { agentId: agent.agentId }).then(() => reapLeases(database.db));
    assert.deepEqual((await placeOf(database.db, lease.jobId)).map(({ outcome }) => outcome), [
      "cancelled",
    ]);
  }
});

Deno.test("recordHeartbeat() renews no session that died, and none of another boot", async () => {
  const { agent } = await setScene();
  const next = await agent.reboot();
  const beat = ({ agentId, bootId }: QueueAgent) =>
    recordHeartbeat(database.db, { agentId, bootId, leaseIds: [] });
  await assert.rejects(beat(agent), SessionLostError);
  await beat(next);
  await age(database.db, { agentId: next.agentId });
  await assert.rejects(beat(next), SessionLostError);
  await assert.rejects(next.claim(1), SessionLostError);
});

Deno.test("reapLeases() leaves offers alone that may still be started, and deadlines that are ahead", async () => {
  const offered = await setScene();
  const started = await setScene();
  const { agentId, bootId } = started.agent;
  const leaseIds = [started.lease.leaseId];
  await recordHeartbeat(database.db, { agentId, bootId, leaseIds });
  await reapLeases(database.db);
  assert.deepEqual([await offered.place(), await started.place()], [["leases"], ["leases"]]);
});

Deno.test("a job that ended leaves its device free for the next one, however it ended", async () => {
  for (const verdict of [COMPLETED, failed("auth_rejected")]) {
    const { site, agent, lease } = await setScene();
    await settle(database.db, { agent, lease, verdict, sha256: "a" });
    const [again] = await enqueue(database.db, site);
    assert.equal(again?.coalesced, false);
  }
});

Deno.test("acceptResult() records a superseded envelope once that comes twice in the same moment", async () => {
  const { agent, lease } = await setScene();
  await settle(database.db, { agent, lease, verdict: COMPLETED, sha256: "a" });
  const attempt = attemptOf(agent, lease);
  const result = { verdict: COMPLETED, envelope: { sha256: "b", durationMs: 5 } };
  const second = await inTheSameMoment(database, {
    first: (tx) => acceptResult(tx, attempt, result),
    second: () => inTransaction(database.db, (tx) => acceptResult(tx, attempt, result)),
  });
  assert.deepEqual([second.answer, second.duplicate], ["superseded", true]);
  const rows = await database.sql`
    select from attempts where lease_id = ${lease.leaseId} and outcome = 'superseded'`;
  assert.equal(rows.length, 1);
});

Deno.test("claimJobs() grants no job whose late failure comes after it was chosen: it waits for its next attempt", async () => {
  const credentialId = await makeCredential(database.db);
  const site = await makeSite(database.db, { devices: 1, credentialId });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const lease = await grantOne(agent);
  await age(database.db, { leaseId: lease.leaseId, column: "offer_until" });
  await reapLeases(database.db);
  const granted = await inTheSameMoment(database, {
    // A claim that has chosen waits for the versions that it would use.
    first: (tx) =>
      sql`select from credential_versions where credential_id = ${credentialId} for update`
        .execute(tx),
    second: () => agent.claim(1),
    meanwhile: () =>
      settle(database.db, { agent, lease, verdict: failed("unreachable"), sha256: "late" }),
  });
  assert.deepEqual(granted, []);
  const [place] = await placeOf(database.db, lease.jobId);
  assert.deepEqual([place?.place, place?.epoch, place?.fails], ["ready", 1, 1]);
});

Deno.test("claimJobs() waits for a revocation that is under way, and grants nothing after it", async () => {
  const { agent } = await setQueue();
  const claiming = inTheSameMoment(database, {
    first: (tx) => sql`delete from agent_sessions where agent_id = ${agent.agentId}`.execute(tx),
    second: () => agent.claim(1),
  });
  await assert.rejects(claiming, SessionLostError);
});

Deno.test("claimJobs() waits for whoever holds the site, and goes by what that one changed", async () => {
  const { site, agent } = await setQueue();
  const granted = await inTheSameMoment(database, {
    first: (tx) => sql`update sites set paused = true where id = ${site.siteId}`.execute(tx),
    second: () => agent.claim(1),
  });
  assert.deepEqual(granted, []);
});

Deno.test("claimJobs() gives a device that is busy no second session", async () => {
  const { site, agent } = await setScene();
  await enqueue(database.db, site, { kind: "check_reachability" });
  assert.deepEqual(await agent.claim(5), []);
});

Deno.test("enqueueJobs() makes the job of a policy's run once, also when the first one is over", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  const occurrence = { policyId: crypto.randomUUID(), at: Temporal.Now.instant() };
  const [job] = await enqueue(database.db, site, { occurrence });
  const lease = await grantOne(agent);
  assert.equal(lease.jobId, job?.jobId);
  await settle(database.db, { agent, lease, verdict: COMPLETED, sha256: "a" });
  assert.deepEqual(await enqueue(database.db, site, { occurrence }), []);
});

Deno.test("the database itself refuses a second lease of a device, of an epoch, and a second open job", async () => {
  const { agent, lease, site } = await setScene();
  const { siteId } = site;
  const again = (table: string, changes: string) =>
    database.sql.unsafe(`
      insert into ${table} select (jsonb_populate_record(null::${table}, to_jsonb(t) || '${changes}'::jsonb)).*
      from ${table} t where site_id = '${siteId}'`);
  const other = crypto.randomUUID();
  await assert.rejects(again("leases", `{"id":"${other}","job_id":"${other}"}`), /leases_pkey/);
  await assert.rejects(again("leases", `{"id":"${other}","device_id":"${other}"}`), /leases_job/);
  await assert.rejects(again("grants", `{"lease_id":"${other}"}`), /grants_site_id_job_id_epoch/);
  await assert.rejects(again("open_jobs", `{"job_id":"${other}"}`), /open_jobs_pkey/);
  assert.equal(
    (await settle(database.db, { agent, lease, verdict: COMPLETED, sha256: "a" })).answer,
    "accepted",
  );
});
