import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { sql } from "kysely";
import { claimLeases, sendHeartbeat } from "@rookery/shared/api/agent_protocol.ts";
import { updateSite } from "@rookery/shared/api/sites.ts";
import { driverDigests, SHIPPED_DRIVERS } from "@rookery/shared/drivers/mod.ts";
import type { ClaimId } from "@rookery/shared/ids.ts";
import { connectDatabase } from "../../control-plane/database/connect.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import { Overload } from "../../control-plane/http/overload.ts";
import { ClaimFloors } from "../../control-plane/jobs/claim_floor.ts";
import { recordHeartbeat } from "../../control-plane/jobs/heartbeat.ts";
import { waitForLeases } from "../../control-plane/jobs/wait_for_leases.ts";
import { Wakeups } from "../../control-plane/jobs/wakeups.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  makeSite,
  readJob,
  until,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { listenAt, overSocket } from "../support/listening.ts";
import * as queue from "../support/queue.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const CLAIMS = 150;
const FEW = 40;
const SITES = 15;

/** Sites with agents that hold claims over a pool of two connections. */
async function holdClaims(count: number, waitSeconds: number) {
  const { db, waitMs, close } = connectDatabase(database.address, {
    poolSize: 2,
    maxLifetimeSeconds: null,
    // All ask at once over two connections, on a machine that does other things as well.
    patienceMs: 60_000,
  });
  const wakeups = new Wakeups(db);
  const overload = new Overload(waitMs);
  const services = { db, floors: new ClaimFloors(), wakeups, overload, drivers: SHIPPED_DRIVERS };
  const drivers = await driverDigests();
  const sites: queue.QueueSite[] = [];
  for (let n = 0; n < SITES; n++) sites.push(await queue.makeSite(database.db, { devices: 1 }));
  const agents = await Promise.all(Array.from({ length: count }, (_, n) => {
    const site = sites[n % SITES] ?? assert.fail();
    return queue.makeAgent(database.db, site).then((agent) => ({ ...agent, site }));
  }));
  const { signal } = new AbortController();
  const startedAt = performance.now();
  const ended: number[] = [];
  const claims = agents.map(async ({ agentId, bootId, site: { siteId } }) => {
    const claim = { agentId, bootId, siteIds: [siteId], claimId: newId<ClaimId>() };
    const order = { ...claim, wanted: 1, waitSeconds, drivers, kinds: ["backup_config"] };
    const leases = await waitForLeases(services, order, signal);
    ended.push(performance.now() - startedAt);
    return leases;
  });
  return {
    db,
    wakeups,
    waitMs,
    sites,
    agents,
    ended,
    claims: Promise.all(claims),
    async [Symbol.asyncDispose]() {
      await wakeups.close();
      await Promise.all(claims);
      overload[Symbol.dispose]();
      await close();
    },
  };
}

Deno.test("hundreds of held claims leave both connections of the pool to others, and hear of work", async () => {
  await using held = await holdClaims(CLAIMS, 50);
  const { db, agents, sites: [site = assert.fail()] } = held;
  // All have asked once and found nothing.
  let quiet = 0;
  const looks = async () => quiet = held.waitMs() === 0 && await isQuiet() ? quiet + 1 : 0;
  await until(async () => await looks() >= 20, "all are held", 60_000);
  const waits: number[] = [];
  for (const agent of agents.slice(0, 100)) {
    await recordHeartbeat(db, { ...agent, leaseIds: [] });
    waits.push(held.waitMs());
  }
  const waited = waits.filter((ms) => ms > 1_000).length;
  assert.ok(waited < 20, `${waited} of ${waits.length} times somebody waited for a connection`);
  const enqueuedAt = performance.now();
  await queue.enqueue(database.db, site);
  await until(() => held.ended.length > 0, "a held claim was granted the job");
  assert.ok(performance.now() - enqueuedAt < 8_000);
  assert.equal(held.ended.length, 1, "the others go on waiting");
  const closedAt = performance.now();
  await held.wakeups.close();
  const granted = (await held.claims).flat();
  assert.ok(performance.now() - closedAt < 10_000, "they are let go at once");
  assert.equal(granted.length, 1);
});

/** Whether no connection of this database runs a statement, or holds a transaction open. */
async function isQuiet(): Promise<boolean> {
  const { rows } = await sql`
    select 1 from pg_stat_activity where datname = current_database()
      and backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()`
    .execute(database.db);
  return rows.length === 0;
}

Deno.test("claims that came together go one by one", async () => {
  await using held = await holdClaims(FEW, 4);
  await held.claims;
  const tenths = new Set(held.ended.map((ms) => Math.floor(ms / 200)));
  assert.ok(tenths.size >= 4, `all ended within ${tenths.size} fifths of a second`);
  assert.ok(Math.min(...held.ended) > 2_500);
});

Deno.test("a caller that goes away in the middle of its claim is granted nothing", async () => {
  await using listening = await listenAt(plane);
  using client = Deno.createHttpClient({ http2: false });
  const siteId = await makeSite(plane);
  const deviceId = await addDevice(plane, siteId);
  await using enrolled = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, enrolled);
  boot.wire.carrier = overSocket(`http://127.0.0.1:${listening.port}`, client);
  const leaving = new AbortController();
  const { bootId } = boot;
  const body = { bootId, claimId: crypto.randomUUID() as ClaimId, wanted: 1, waitSeconds: 50 };
  const claim = boot.controlPlane.call(claimLeases, { body }, { signal: leaving.signal });
  await Promise.race([claim, delay(1_500)]);
  leaving.abort();
  await assert.rejects(claim);
  await delay(1_000);
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  await delay(2_500);
  assert.equal((await readJob(plane, jobId)).state, "available");
  assert.equal((await boot.claim()).length, 1, "it is there for whoever asks");
});

Deno.test("heartbeats become rarer with the fleet, and no session dies of it", async () => {
  const siteId = await makeSite(plane, { leaseTtlSeconds: 30 });
  await using enrolled = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, enrolled);
  const beat = { body: { bootId: boot.bootId, leaseIds: [] } };
  const alone = await boot.call(sendHeartbeat, beat);
  assert.deepEqual([alone.ttlSeconds, alone.heartbeatSeconds], [30, 10]);
  await sql`
    insert into agent_sessions (agent_id, boot_id, capacity, ttl_seconds, expires_at)
    select gen_random_uuid(), gen_random_uuid(), 1, 180, now() + interval '1 hour'
    from generate_series(1, 20000)`.execute(database.db);
  // The count is allowed to be ten seconds old.
  await delay(10_500);
  const crowded = await boot.call(sendHeartbeat, beat);
  assert.ok(crowded.heartbeatSeconds >= 40 && crowded.heartbeatSeconds < 43);
  assert.ok(crowded.ttlSeconds >= 3 * 40 && crowded.ttlSeconds < 135);
  const { rows: [row] } = await sql<{ seconds: number }>`
    select extract(epoch from expires_at - seen_at)::int as seconds from agent_sessions
    where agent_id = ${enrolled.identity.agentId}`.execute(database.db);
  assert.equal(row?.seconds, crowded.ttlSeconds);
  await sql`delete from agent_sessions where ttl_seconds = 180`.execute(database.db);
});

Deno.test("leaseTtlSeconds takes effect with the next heartbeat, and a lease says the same as the session", async () => {
  const siteId = await makeSite(plane, { leaseTtlSeconds: 60 });
  const deviceId = await addDevice(plane, siteId);
  await using enrolled = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, enrolled);
  const admin = await plane.administrator();
  const session = await boot.controlPlane.session({ signal: new AbortController().signal });
  assert.ok(session.ttlSeconds >= 60);
  const body = { leaseTtlSeconds: 600 };
  await admin.call(updateSite, { params: { siteId }, body });
  const reply = await boot.call(sendHeartbeat, { body: { bootId: boot.bootId, leaseIds: [] } });
  assert.equal(reply.ttlSeconds, 600);
  await backUpNow(plane, [deviceId]);
  const [lease = assert.fail()] = await boot.claim();
  assert.equal(lease.ttlSeconds, 600);
  assert.ok(reply.heartbeatSeconds * 3 <= reply.ttlSeconds);
});

Deno.test("a shutdown answers held claims before it is over", async () => {
  const listening = await listenAt(plane);
  using client = Deno.createHttpClient({ http2: false });
  const siteId = await makeSite(plane);
  await using enrolled = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, enrolled);
  boot.wire.carrier = overSocket(`http://127.0.0.1:${listening.port}`, client);
  const { bootId } = boot;
  const claimId = crypto.randomUUID() as ClaimId;
  const body = { bootId, claimId, wanted: 1, waitSeconds: 50 };
  const claim = boot.call(claimLeases, { body });
  await Promise.race([claim, delay(1_500)]);
  // As main.ts does; nothing of this file claims any more.
  await plane.services.wakeups.close();
  await listening.shutdown(20_000);
  assert.deepEqual(await claim, { leases: [] });
});
