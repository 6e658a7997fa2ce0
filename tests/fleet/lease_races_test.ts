import assert from "node:assert/strict";
import { sql } from "kysely";
import type { ClaimId, JobId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { ClaimFloors } from "../../control-plane/jobs/claim_floor.ts";
import { claimJobs, type GrantedLease } from "../../control-plane/jobs/claim.ts";
import { recordHeartbeat } from "../../control-plane/jobs/heartbeat.ts";
import { reapLeases, releaseLease } from "../../control-plane/jobs/reap.ts";
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

Deno.test("claimJobs() hides no job of a platform from its agents while other platforms are claimed", async () => {
  const site = await makeSite(database.db, { devices: 120, maxLive: 200 });
  const rare = site.deviceIds.slice(0, 5);
  await sql`update devices set platform = 'cisco_iosxe' where id = any(${[...rare]}::uuid[])`
    .execute(database.db);
  await enqueue(database.db, site);
  await sql`update ready set due_at = due_at - interval '2 hours', rank = rank - case
      when device_id = any(${[...rare]}::uuid[]) then interval '3 hours' else interval '2 hours' end
    where site_id = ${site.siteId}`.execute(database.db);
  const floors = new ClaimFloors();
  const claimAs = async (agent: QueueAgent, platforms: readonly string[]) =>
    await claimJobs(database.db, {
      ...{ agentId: agent.agentId, bootId: agent.bootId, siteIds: [site.siteId] },
      ...{ claimId: newId<ClaimId>(), wanted: 1, platforms, kinds: ["backup_config"] },
    }, floors);
  const frr = await makeAgent(database.db, site, { capacity: 200 });
  const cisco = await makeAgent(database.db, site, { capacity: 200 });
  let granted = 0;
  for (let round = 0; round < rare.length; round++) {
    for (let n = 0; n < 10; n++) await claimAs(frr, ["frr"]);
    granted += (await claimAs(cisco, ["cisco_iosxe"])).length;
  }
  assert.equal(granted, rare.length);
});

Deno.test("claimJobs() of one claim id by two requests at once grants one set of leases", async () => {
  for (let round = 0; round < 5; round++) {
    const site = await makeSite(database.db, { devices: 4 });
    const agent = await makeAgent(database.db, site);
    await enqueue(database.db, site);
    const claimId = newId<ClaimId>();
    const [one, two] = await Promise.all([agent.claim(2, claimId), agent.claim(2, claimId)]);
    const ids = (leases: readonly GrantedLease[]) => leases.map(({ leaseId }) => leaseId).sort();
    assert.deepEqual(ids(one), ids(two));
  }
});

Deno.test("enqueueJobs() opens a new job when the waiting one ends in the same moment", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  for (let round = 0; round < 30; round++) {
    await enqueue(database.db, site);
    const lease = await grantOne(agent);
    const accepting = accept(agent, lease, COMPLETED, `round-${round}`);
    const ordered = await enqueue(database.db, site);
    assert.equal((await accepting).answer, "accepted");
    assert.equal(ordered.length, 1, "the order was lost");
    for (const waiting of await agent.claim(5)) await accept(agent, waiting);
  }
});

Deno.test("enqueueJobs() refuses an archived device, and raises a waiting job in a queue that is too long", async () => {
  const site = await makeSite(database.db, { devices: 3, maxQueued: 3 });
  await enqueue(database.db, site);
  await sql`update sites set max_queued = 1 where id = ${site.siteId}`.execute(database.db);
  const [raised] = await enqueue(database.db, site, { deviceIds: site.deviceIds.slice(0, 1) });
  assert.equal(raised?.coalesced, true);
  const other = await makeSite(database.db, { devices: 2 });
  await sql`update devices set archived_at = now() where id = ${other.deviceIds[1] ?? ""}`
    .execute(database.db);
  await assert.rejects(
    enqueue(database.db, other),
    (error: unknown) => error instanceof ProblemError && error.type === "conflict",
  );
  assert.deepEqual(await (await makeAgent(database.db, other)).claim(5), []);
});

Deno.test("releaseLease() takes no lease that its agent has started", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const lease = await grantOne(agent);
  const { agentId, bootId } = agent;
  await recordHeartbeat(database.db, { agentId, bootId, leaseIds: [lease.leaseId] });
  const released = await inTransaction(
    database.db,
    (tx) => releaseLease(tx, { ...lease, agentId }),
  );
  assert.equal(released, false);
  assert.deepEqual((await placeOf(database.db, lease.jobId)).map(({ place }) => place), ["leases"]);
});

Deno.test("acceptResult() counts a late failure once, although its loss was counted before", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const lease = await grantOne(agent);
  const { agentId, bootId } = agent;
  await recordHeartbeat(database.db, { agentId, bootId, leaseIds: [lease.leaseId] });
  await age(database.db, { leaseId: lease.leaseId, column: "deadline_at" });
  await reapLeases(database.db);
  assert.equal((await placeOf(database.db, lease.jobId))[0]?.fails, 1);
  const { answer } = await accept(agent, lease, failed("unreachable"));
  assert.equal(answer, "accepted_late");
  const [place] = await placeOf(database.db, lease.jobId);
  assert.deepEqual([place?.place, place?.fails], ["ready", 1]);
});

Deno.test("a job that dies with its agents shows in the status of its device", async () => {
  const site = await makeSite(database.db, { devices: 1 });
  await enqueue(database.db, site);
  let jobId: JobId | undefined;
  for (let boot = 0; boot < 8 && !await isDead(jobId); boot++) {
    const agent = await makeAgent(database.db, site);
    await sql`update ready set due_at = now(), rank = now() where site_id = ${site.siteId}`
      .execute(database.db);
    jobId = (await grantOne(agent)).jobId;
    await age(database.db, agent);
    await reapLeases(database.db);
  }
  assert.ok(await isDead(jobId));
  const status = await database.db.selectFrom("deviceStatus").selectAll()
    .where("deviceId", "=", site.deviceIds[0] ?? assert.fail()).executeTakeFirst();
  assert.deepEqual([status?.lastOutcome, status?.failureCode], ["failed", "session_lost"]);
});

async function isDead(jobId: JobId | undefined): Promise<boolean> {
  return jobId !== undefined && (await placeOf(database.db, jobId))[0]?.outcome === "dead";
}

Deno.test("recordHeartbeat() takes back a started lease that its agent has forgotten, but no young one", async () => {
  const site = await makeSite(database.db, { devices: 2 });
  const agent = await makeAgent(database.db, site);
  await enqueue(database.db, site);
  const [kept, dropped] = await agent.claim(2);
  assert.ok(kept && dropped);
  const { agentId, bootId } = agent;
  const beat = (...leases: readonly GrantedLease[]) =>
    recordHeartbeat(database.db, {
      agentId,
      bootId,
      leaseIds: leases.map(({ leaseId }) => leaseId),
    });
  await beat(kept, dropped);
  await beat(kept);
  const placesOf = async () =>
    (await Promise.all([kept, dropped].map(({ jobId }) => placeOf(database.db, jobId))))
      .map(([row]) => row?.place);
  assert.deepEqual(await placesOf(), ["leases", "leases"]);
  await sql`update leases set granted_at = granted_at - interval '61 seconds'
    where agent_id = ${agentId}`.execute(database.db);
  await beat(kept);
  assert.deepEqual(await placesOf(), ["leases", "ready"]);
});
