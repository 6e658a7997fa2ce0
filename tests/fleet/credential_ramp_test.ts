import assert from "node:assert/strict";
import { type RawBuilder, sql } from "kysely";
import { setTimeout as delay } from "node:timers/promises";
import type { CredentialId, DeviceId } from "@rookery/shared/ids.ts";
import { DEFAULTS } from "@rookery/shared/settings/mod.ts";
import { connectDatabase } from "../../control-plane/database/connect.ts";
import { CANDIDATES, headOf, lanesOf } from "../../control-plane/jobs/claim_candidates.ts";
import { endQuarantined } from "../../control-plane/jobs/end_quarantined.ts";
import { reapLeases } from "../../control-plane/jobs/reap.ts";
import { testDatabase } from "../support/database.ts";
import {
  age,
  enqueue,
  grantOne,
  makeAgent,
  makeSite,
  placeOf,
  type QueueAgent,
  type QueueSite,
} from "../support/queue.ts";
import { addVersion, makeCredential, reportLogin, trust, versionOf } from "../support/ramp.ts";

const REFUSALS_TO_QUARANTINE = DEFAULTS["credentials.refusals_to_quarantine"];
const DEVICE_REFUSALS_TO_QUARANTINE = DEFAULTS["credentials.device_refusals_to_quarantine"];

const database = testDatabase({ poolSize: 8 });

/** What happened as the agents and devices saw it; nothing of it is read from the database. */
class History {
  live = 0;
  /** Reports of a success that were sent, so that their effect may be there. */
  successes = 0;
  /** Refusals whose report was acknowledged. */
  toldRefusals = 0;
  readonly refusals = new Map<DeviceId, number>();
  /** Claims that brought more than the rule of the test allows. */
  readonly breaches: string[] = [];

  get refused(): number {
    return [...this.refusals.values()].reduce((sum, count) => sum + count, 0);
  }
}

interface Rules {
  readonly sites?: readonly QueueSite[];
  readonly takesPassword: (deviceId: DeviceId) => boolean;
  /** How many leases may live when a claim that began at `toldRefusals` has returned. */
  readonly most?: (toldRefusals: number) => number;
  /** How long a session takes at most; default 15. */
  readonly sessionMs?: number;
}

/** Claims and logs in until every job of the sites has ended. */
async function work(agent: QueueAgent, history: History, rules: Rules): Promise<void> {
  while (await isOpen(rules.sites ?? [])) {
    const { toldRefusals } = history;
    const leases = await agent.claim(10);
    history.live += leases.length;
    const most = rules.most?.(toldRefusals) ?? Infinity;
    if (leases.length > 0 && history.live > most) {
      history.breaches.push(`${history.live} live, ${most} allowed`);
    }
    if (leases.length === 0) await delay(25);
    await Promise.all(leases.map(async (lease) => {
      await delay(Math.random() * (rules.sessionMs ?? 15));
      const isTaken = rules.takesPassword(lease.deviceId);
      const before = history.refusals.get(lease.deviceId) ?? 0;
      if (isTaken) history.successes++;
      else history.refusals.set(lease.deviceId, before + 1);
      // Off the list before the report: the slot is free as soon as that is committed.
      history.live--;
      await reportLogin(agent.db, lease, isTaken ? "accepted" : "auth_rejected");
      if (!isTaken) history.toldRefusals++;
    }));
  }
}

async function isOpen(sites: readonly QueueSite[]): Promise<boolean> {
  const siteIds = sites.map(({ siteId }) => siteId);
  const open = await database.db.selectFrom("openJobs").select("jobId")
    .where("siteId", "in", siteIds).limit(1).execute();
  return open.length > 0;
}

/** Agents of several sites over the pools of two replicas. */
async function workAtAll(
  sites: readonly QueueSite[],
  rules: Rules,
  history = new History(),
): Promise<History> {
  const replica = connectDatabase(database.address, { poolSize: 4, maxLifetimeSeconds: null });
  try {
    const agents = await Promise.all(
      sites.flatMap((site) =>
        [database.db, replica.db].map((db) => makeAgent(db, site, { capacity: 20 }))
      ),
    );
    for (const site of sites) await enqueue(database.db, site);
    await Promise.all(agents.map((agent) => work(agent, history, { ...rules, sites })));
  } finally {
    await replica.close();
  }
  return history;
}

function makeSites(credentialId: CredentialId, sites: number, devices: number) {
  return Promise.all(Array.from(
    { length: sites },
    () => makeSite(database.db, { devices, maxLive: 20, credentialId }),
  ));
}

async function outcomesOf(sites: readonly QueueSite[]): Promise<Record<string, number>> {
  const { rows } = await sql<{ outcome: string; n: number }>`
    select coalesce(failure_code, outcome) as outcome, count(*)::int as n from done
    where site_id = any(${sites.map(({ siteId }) => siteId)}::uuid[]) group by 1`
    .execute(database.db);
  return Object.fromEntries(rows.map(({ outcome, n }) => [outcome, n]));
}

Deno.test("200 devices at 4 sites whose password was rotated since last night refuse it N times in all", async () => {
  const credentialId = await makeCredential(database.db);
  await trust(database.db, credentialId, { minutesAgo: 8 * 60 });
  const sites = await makeSites(credentialId, 4, 50);
  const history = await workAtAll(sites, { takesPassword: () => false, most: () => 1 });
  assert.equal(history.refused, REFUSALS_TO_QUARANTINE);
  assert.deepEqual(history.breaches, []);
  assert.deepEqual(await outcomesOf(sites), {
    auth_rejected: REFUSALS_TO_QUARANTINE,
    credential_quarantined: 200 - REFUSALS_TO_QUARANTINE,
  });
  const status = await database.db.selectFrom("deviceStatus").selectAll()
    .where("siteId", "in", sites.map(({ siteId }) => siteId)).execute();
  const told = status.filter(({ failureCode }) => failureCode === "credential_quarantined");
  assert.equal(told.length, 200 - REFUSALS_TO_QUARANTINE);
});

Deno.test("a password that is rotated in the middle of a run is refused by what ran then, and by nobody after it", async () => {
  const credentialId = await makeCredential(database.db);
  await trust(database.db, credentialId, { minutesAgo: 1 });
  const sites = await makeSites(credentialId, 4, 50);
  let logins = 0;
  const history = new History();
  let running = 0;
  const takesPassword = () => {
    if (++logins === 60) running = history.live;
    return logins < 60;
  };
  // Whoever begins to claim after a refusal was told gets something only when nothing else runs.
  const most = (toldRefusals: number) => toldRefusals > 0 ? 1 : Infinity;
  await workAtAll(sites, { takesPassword, most, sessionMs: 400 }, history);
  assert.deepEqual(history.breaches, []);
  assert.ok(running > 5, `only ${running} ran`);
  // Claims that were on their way when the first refusal was told bring at most what the sites allow.
  assert.ok(history.refused <= 4 * 20 + REFUSALS_TO_QUARANTINE, `${history.refused} refusals`);
  const { credential_quarantined: ended = 0 } = await outcomesOf(sites);
  assert.equal(ended, 200 - 59 - history.refused);
});

Deno.test("a version that never succeeded is used by one agent, then by 2, 4, 8 … over all sites and replicas", async () => {
  const credentialId = await makeCredential(database.db);
  const sites = await makeSites(credentialId, 4, 30);
  const history = new History();
  const most = () => 2 ** history.successes;
  await workAtAll(sites, { takesPassword: () => true, most }, history);
  assert.deepEqual(history.breaches, []);
  assert.deepEqual(await outcomesOf(sites), { completed: 120 });
  assert.deepEqual(await versionOf(database.db, credentialId), {
    state: "trusted",
    ramp: null,
    refusing: [],
  });
});

Deno.test("one bad device for 30 nights: the rest is backed up every night, and the bad one is left alone after M", async () => {
  const credentialId = await makeCredential(database.db);
  const site = await makeSite(database.db, { devices: 5, maxLive: 20, credentialId });
  const agent = await makeAgent(database.db, site, { capacity: 20 });
  const bad = site.deviceIds[2] ?? assert.fail();
  let refusals = 0;
  for (let night = 1; night <= 30; night++) {
    await trust(database.db, credentialId, { minutesAgo: 20 * 60 });
    const jobs = await enqueue(database.db, site);
    for (let leases = await agent.claim(10); leases.length > 0; leases = await agent.claim(10)) {
      for (const lease of leases) {
        const isBad = lease.deviceId === bad;
        if (isBad) refusals++;
        await reportLogin(database.db, lease, isBad ? "auth_rejected" : "accepted");
      }
    }
    await endQuarantined(database.db);
    const places = await Promise.all(jobs.map(({ jobId }) => placeOf(database.db, jobId)));
    const outcomes = places.map(([row]) => row?.outcome).sort();
    assert.deepEqual(outcomes, [...Array(4).fill("completed"), "failed"], `night ${night}`);
  }
  assert.equal(refusals, DEVICE_REFUSALS_TO_QUARANTINE);
  assert.equal((await outcomesOf([site])).credential_quarantined_on_device, 27);
  assert.notEqual((await versionOf(database.db, credentialId)).state, "quarantined");
});

Deno.test("a lost lease frees the slot of a suspect version, and what began before the refusal clears nothing", async () => {
  const credentialId = await makeCredential(database.db);
  await trust(database.db, credentialId, { minutesAgo: 1 });
  const [site, other] = await makeSites(credentialId, 2, 6);
  assert.ok(site && other);
  await enqueue(database.db, site);
  await enqueue(database.db, other);
  const agent = await makeAgent(database.db, site, { capacity: 20 });
  const elsewhere = await makeAgent(database.db, other, { capacity: 20 });
  const [refused, early] = await agent.claim(2);
  assert.ok(refused && early);
  await reportLogin(database.db, refused, "auth_rejected");
  assert.deepEqual(await elsewhere.claim(5), [], "one of before the refusal still runs");
  await reportLogin(database.db, early, "accepted");
  assert.equal((await versionOf(database.db, credentialId)).state, "suspect");
  const probe = await elsewhere.claim(5);
  assert.equal(probe.length, 1);
  assert.deepEqual(await agent.claim(5), []);
  await age(database.db, { agentId: elsewhere.agentId });
  await reapLeases(database.db);
  const next = await grantOne(agent);
  await reportLogin(database.db, next, "unreachable");
  assert.equal((await versionOf(database.db, credentialId)).state, "suspect");
  await reportLogin(database.db, await grantOne(agent), "accepted");
  assert.deepEqual(await versionOf(database.db, credentialId), {
    state: "trusted",
    ramp: 2,
    refusing: [],
  });
  assert.equal((await agent.claim(5)).length, 2);
});

Deno.test("new secrets end a quarantine: they are a new version, which starts with one session", async () => {
  const credentialId = await makeCredential(database.db);
  const [site] = await makeSites(credentialId, 1, 10);
  assert.ok(site);
  const agent = await makeAgent(database.db, site, { capacity: 20 });
  await enqueue(database.db, site);
  for (let n = 0; n < REFUSALS_TO_QUARANTINE; n++) {
    await reportLogin(database.db, await grantOne(agent), "auth_rejected");
  }
  assert.equal((await versionOf(database.db, credentialId)).state, "quarantined");
  await enqueue(database.db, site);
  assert.deepEqual(await agent.claim(5), []);
  await addVersion(database.db, credentialId, 2);
  const first = await agent.claim(5);
  assert.equal(first.length, 1);
  for (const lease of first) await reportLogin(database.db, lease, "accepted");
  assert.equal((await agent.claim(5)).length, 2);
});

Deno.test("5,000 jobs that wait for a suspect version starve nobody, are not hidden, and make no claim slow", async () => {
  const credentialId = await makeCredential(database.db);
  const other = await makeCredential(database.db);
  await trust(database.db, other, { minutesAgo: 1 });
  const blocked = await makeSite(database.db, { devices: 5_000, maxLive: 1_000, credentialId });
  await enqueue(database.db, blocked);
  const { rows: free } = await sql<{ id: DeviceId }>`
    insert into devices (id, site_id, name, host, platform, credential_id)
    select gen_random_uuid(), ${blocked.siteId}, 'free-' || n, '198.51.100.' || n, 'frr', ${other}
    from generate_series(1, 300) n returning id`.execute(database.db);
  await enqueue(database.db, blocked, { deviceIds: free.map(({ id }) => id) });
  await sql`analyze`.execute(database.db);
  const agent = await makeAgent(database.db, blocked, { capacity: 1_000 });
  const probe = await grantOne(agent);
  const claimed = await agent.claim(100);
  assert.equal(claimed.length, 100);
  assert.ok(claimed.every(({ deviceId }) => !blocked.deviceIds.includes(deviceId)));
  const view = { siteId: blocked.siteId, platforms: ["frr"], kinds: ["backup_config"] };
  for (const query of [headOf(view, CANDIDATES), lanesOf(view)]) {
    const read = await rowsOfReady(query);
    assert.ok(read <= 3 * CANDIDATES, `${read} of more than 5,000 waiting jobs were read`);
  }
  await reportLogin(database.db, probe, "accepted");
  const unblocked = await agent.claim(2);
  assert.deepEqual(
    unblocked.map(({ deviceId }) => blocked.deviceIds.includes(deviceId)),
    [true, true],
    "a claim floor hides what waited",
  );
});

interface PlanNode {
  readonly "Relation Name"?: string;
  readonly "Actual Rows": number;
  readonly "Actual Loops": number;
  readonly "Rows Removed by Filter"?: number;
  readonly Plans?: readonly PlanNode[];
}

/** How many rows of the queue a query reads, by its executed plan: a figure that no busy machine changes. */
async function rowsOfReady(query: RawBuilder<unknown>): Promise<number> {
  const { rows: [row] } = await sql<{ queryPlan: { Plan: PlanNode }[] }>`
    explain (analyze, format json) ${query}`.execute(database.db);
  const sum = (node: PlanNode): number => {
    const own = node["Relation Name"] === "ready"
      ? (node["Actual Rows"] + (node["Rows Removed by Filter"] ?? 0)) * node["Actual Loops"]
      : 0;
    return (node.Plans ?? []).reduce((total, child) => total + sum(child), own);
  };
  const plan = Object.values(row ?? {})[0]?.[0]?.Plan ?? assert.fail("there is no plan");
  return sum(plan);
}
