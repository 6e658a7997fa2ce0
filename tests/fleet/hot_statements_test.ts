/** Each statement that runs for every job stays on its index, in a database of the size where a scan would hurt. */
import assert from "node:assert/strict";
import { type Kysely, sql } from "kysely";
import type { SiteId } from "@rookery/shared/ids.ts";
import { connectDatabase } from "../../control-plane/database/connect.ts";
import type { Database } from "../../control-plane/database/schema.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { acceptEnded } from "../../control-plane/jobs/accept_ended.ts";
import { recordHeartbeat } from "../../control-plane/jobs/heartbeat.ts";
import { enqueueJobs } from "../../control-plane/jobs/enqueue.ts";
import { testDatabase } from "../support/database.ts";
import {
  attemptOf,
  COMPLETED,
  failed,
  makeAgent,
  type QueueAgent,
  type QueueSite,
  settle,
} from "../support/queue.ts";

const database = testDatabase();
const SITES = 300;
const PARTS = 10;
const DEVICES_PER_SITE = 100;
/** What grows with the fleet or with time. `installation` and its like have one row. */
const LARGE = new Set(
  ["ready", "leases", "jobs", "open_jobs", "done", "grants", "devices", "sites", "agents"],
);

/** What does not run for each job: at the boot of an agent, and only where the queue of all sites is nearly full. */
const RARE = /set queue_version = queue_version \+ 1 from held|pg_relation_size\('open_jobs'\)/;

/** A third of the devices has a job that waits, a third one at work, a third one that is done. */
async function fillDatabase(db: Kysely<Database>): Promise<readonly SiteId[]> {
  await sql`
    insert into sites (id, tenant_id, name, max_live, max_queued)
    select gen_random_uuid(), t.id, 'large ' || n, 1000, 1000000
    from (select id from tenants limit 1) t, generate_series(1, ${SITES}) n`.execute(db);
  // In parts, none of which takes longer than a statement may: devices are found by much, and each pays for it here.
  for (let part = 0; part < PARTS; part++) {
    await sql`
      insert into devices (id, site_id, name, host, platform)
      select gen_random_uuid(), s.id, 'device ' || n, 'device-' || n || '.test', 'frr'
      from sites s, generate_series(1, ${DEVICES_PER_SITE}) n where n % ${PARTS} = ${part}`
      .execute(db);
  }
  await sql`
    insert into agents (id, tenant_id, name, sign_jwk, seal_jwk, thumbprint)
    select id, tenant_id, name, '{}', '{}', name from sites`.execute(db);
  await sql`
    insert into agent_sites (agent_id, site_id) select id, id from sites`.execute(db);
  await sql`
    insert into agent_sessions (agent_id, boot_id, capacity, ttl_seconds, expires_at)
    select id, id, 1000, 180, now() + interval '1 day' from sites`.execute(db);
  await sql`
    insert into jobs (site_id, id, device_id, kind, payload, due_at)
    select site_id, id, id, 'backup_config', '{}', now() from devices`.execute(db);
  const third = (part: number) => sql`from devices where substr(name, 8)::int % 3 = ${part}`;
  await sql`
    insert into open_jobs (site_id, device_id, kind, payload_key, job_id)
    select site_id, id, 'backup_config', '', id from devices
    where substr(name, 8)::int % 3 < 2`.execute(db);
  await sql`
    insert into ready (site_id, rank, job_id, device_id, kind, due_at, offset_seconds)
    select site_id, now(), id, id, 'backup_config', now(), 0 ${third(0)}`.execute(db);
  await sql`
    insert into leases (site_id, device_id, job_id, id, kind, epoch, agent_id, boot_id, claim_id,
      offer_until, deadline_at, rank, due_at, offset_seconds, fails, session_losses)
    select site_id, id, id, id, 'backup_config', 1, site_id, site_id, id, now() + interval '1 hour',
      now() + interval '1 hour', now(), now(), 0, 0, 0 ${third(1)}`.execute(db);
  await sql`
    insert into done (site_id, job_id, device_id, kind, epoch, outcome)
    select site_id, id, id, 'backup_config', 1, 'completed' ${third(2)}`.execute(db);
  await sql`
    insert into grants (lease_id, site_id, job_id, device_id, agent_id, boot_id, epoch)
    select id, site_id, id, id, site_id, site_id, 1 from devices
    where substr(name, 8)::int % 3 > 0`.execute(db);
  await database.sql`analyze`;
  const { rows } = await sql<{ id: SiteId }>`select id from sites limit 2`.execute(db);
  return rows.map(({ id }) => id);
}

/** A life of jobs: ordered, claimed, kept alive, settled one by one and together, well and badly. */
async function live(db: Kysely<Database>, site: QueueSite, agent: QueueAgent): Promise<void> {
  const order = { urgency: "normal", priority: 0, kind: "backup_config" } as const;
  await inTransaction(
    db,
    (tx) => enqueueJobs(tx, { ...order, ...site, payload: { captures: [] } }),
  );
  const [first, second, ...more] = await agent.claim(6);
  const [third] = await agent.claim(1);
  assert.ok(first && second && third);
  const leaseIds = [first, second, third, ...more].map(({ leaseId }) => leaseId);
  await recordHeartbeat(db, { ...agent, leaseIds });
  await recordHeartbeat(db, { ...agent, leaseIds });
  await settle(db, { agent, lease: first, verdict: COMPLETED, sha256: "a" });
  await settle(db, { agent, lease: second, verdict: failed("connect_timed_out"), sha256: "b" });
  await settle(db, { agent, lease: third, verdict: failed("auth_rejected"), sha256: "c" });
  const envelope = { sha256: "d", durationMs: 1 };
  const endings = more.map((lease) => (
    { attempt: attemptOf(agent, lease), verdict: { status: "cancelled" }, envelope } as const
  ));
  assert.equal((await acceptEnded(db, endings)).size, more.length);
}

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly Plans?: readonly PlanNode[];
}

function nodesOf(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];
}

/** As it is planned once it has run a few times, whatever its parameters are. */
async function scansOf(statement: string): Promise<readonly string[]> {
  const [row] = await database.sql.unsafe<{ "QUERY PLAN": [{ Plan: PlanNode }] }[]>(
    `explain (format json, generic_plan) ${statement}`,
  ).simple();
  const plan = row?.["QUERY PLAN"][0].Plan;
  assert.ok(plan, statement);
  return nodesOf(plan).filter((node) => node["Node Type"] === "Seq Scan")
    .map((node) => node["Relation Name"] ?? "").filter((name) => LARGE.has(name));
}

Deno.test("no statement in the life of a job reads a large table from end to end", async () => {
  const [siteId] = await fillDatabase(database.db);
  assert.ok(siteId);
  const { rows: devices } = await sql<{ id: QueueSite["deviceIds"][number] }>`
    select id from devices d where site_id = ${siteId}
      and not exists (select 1 from open_jobs o where o.device_id = d.id)`.execute(database.db);
  const site = { siteId, deviceIds: devices.map(({ id }) => id) };
  await using one = connectDatabase(database.address, { poolSize: 1, maxLifetimeSeconds: null });
  const { db } = one;
  await live(db, site, await makeAgent(db, site, { capacity: 1_000 }));
  // What that one connection has prepared is what was sent over it.
  const { rows: prepared } = await sql<{ statement: string }>`
    select statement from pg_prepared_statements
    where statement ~ '\\m(leases|ready|open_jobs|done|grants)\\M'`.execute(db);
  assert.ok(prepared.length >= 12, `only ${prepared.length} statements were seen`);
  const scans: string[] = [];
  for (const { statement } of prepared) {
    if (RARE.test(statement)) continue;
    for (const table of await scansOf(statement)) scans.push(`${table}: ${statement}`);
  }
  assert.deepEqual(scans, []);
});

Deno.test("acceptEnded() settles what is still held, once, and leaves the rest as it was", async () => {
  const { db } = database;
  const { rows: [site] } = await sql<{ siteId: SiteId }>`
    select site_id from ready limit 1`.execute(db);
  assert.ok(site);
  const agent = await makeAgent(db, { ...site, deviceIds: [] });
  const [held, cancelled, stale] = await agent.claim(3);
  assert.ok(held && cancelled && stale);
  await sql`update leases set cancel_requested = true where id = ${cancelled.leaseId}`.execute(db);
  const envelope = { sha256: "e", durationMs: 1 };
  const endingOf = (attempt: ReturnType<typeof attemptOf>) => (
    { attempt, envelope, verdict: { status: "completed", report: { text: 'a "b" \\' } } } as const
  );
  const endings = [
    endingOf(attemptOf(agent, held)),
    endingOf(attemptOf(agent, cancelled)),
    endingOf({ ...attemptOf(agent, stale), epoch: stale.epoch + 1 }),
  ];
  const settled = await acceptEnded(db, endings);
  assert.deepEqual(
    [held, cancelled, stale].map(({ leaseId }) => settled.get(leaseId)?.outcome),
    ["completed", "cancelled", undefined],
  );
  assert.equal((await acceptEnded(db, endings)).size, 0);
  const { rows } = await sql<{ outcome: string; report: unknown; attempts: number }>`
    select outcome, report, (select count(*)::int from attempts a where a.job_id = d.job_id) as attempts
    from done d where job_id in (${held.jobId}, ${cancelled.jobId}) order by outcome desc`.execute(
    db,
  );
  assert.deepEqual(rows, [
    { outcome: "completed", report: { text: 'a "b" \\' }, attempts: 1 },
    { outcome: "cancelled", report: null, attempts: 1 },
  ]);
  const { rows: left } = await sql`select 1 from leases where id = ${stale.leaseId}`.execute(db);
  assert.equal(left.length, 1);
});
