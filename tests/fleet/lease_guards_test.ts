/** What guards the lease engine against the same moment: each test holds one transaction where another one has to wait. */
import assert from "node:assert/strict";
import { sql, type Transaction } from "kysely";
import { upsertSession } from "../../control-plane/agents/store.ts";
import type { Database } from "../../control-plane/database/schema.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { acceptResult } from "../../control-plane/jobs/accept.ts";
import { cancelJob } from "../../control-plane/jobs/cancel.ts";
import { SessionLostError } from "../../control-plane/jobs/claim.ts";
import { recordHeartbeat } from "../../control-plane/jobs/heartbeat.ts";
import { reapLeases } from "../../control-plane/jobs/reap.ts";
import { until } from "../support/agent_bench.ts";
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

const database = testDatabase({ poolSize: 6 });

/** Holds what `first` did until `second` waits for it; then lets both go on. */
async function inTheSameMoment<Result>(
  first: (tx: Transaction<Database>) => Promise<unknown>,
  second: () => Promise<Result>,
  meanwhile: () => Promise<unknown> = () => Promise.resolve(),
): Promise<Result> {
  const held = Promise.withResolvers<void>();
  const waited = Promise.withResolvers<void>();
  const holding = inTransaction(database.db, async (tx) => {
    await first(tx);
    held.resolve();
    await waited.promise;
  });
  await held.promise;
  const waiting = second();
  try {
    await until(isSomebodyWaiting, "the second one waits for the first", 10_000);
    await meanwhile();
  } finally {
    waited.resolve();
    await Promise.allSettled([holding, waiting]);
  }
  return await waiting;
}

async function isSomebodyWaiting(): Promise<boolean> {
  const rows = await database.sql`select from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`;
  return rows.length > 0;
}

/** One device, one agent, one lease of it. */
async function setScene() {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
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
  await inTheSameMoment(
    (tx) => sql`update leases set running = true where id = ${lease.leaseId}`.execute(tx),
    () => reapLeases(database.db),
  );
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
  const envelope = { sha256: "b", durationMs: 5 };
  const second = await inTheSameMoment(
    (tx) => acceptResult(tx, attempt, { verdict: COMPLETED, envelope }),
    () =>
      inTransaction(
        database.db,
        (tx) => acceptResult(tx, attempt, { verdict: COMPLETED, envelope }),
      ),
  );
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
  const granted = await inTheSameMoment(
    // A claim that has chosen waits for the versions that it would use.
    (tx) =>
      sql`select from credential_versions where credential_id = ${credentialId} for update`
        .execute(tx),
    () => agent.claim(1),
    () => settle(database.db, { agent, lease, verdict: failed("unreachable"), sha256: "late" }),
  );
  assert.deepEqual(granted, []);
  const [place] = await placeOf(database.db, lease.jobId);
  assert.deepEqual([place?.place, place?.epoch, place?.fails], ["ready", 1, 1]);
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
