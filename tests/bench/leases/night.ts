/**
 * One night of a large installation: every device backed up once, at a minute of its own. The SQL is the engine's; the agents
 * are loops in this process, and what a device takes to answer is left out, as is the time between one minute's work and the
 * next. Minutes are alike, so some of them are played, and the night is told from them.
 */
import { type Kysely, sql } from "kysely";
import type { ClaimId, DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { connectDatabase } from "../../../control-plane/database/connect.ts";
import { migrate } from "../../../control-plane/database/migrate.ts";
import { newId } from "../../../control-plane/database/new_id.ts";
import type { Database } from "../../../control-plane/database/schema.ts";
import { inTransaction } from "../../../control-plane/database/transaction.ts";
import { acceptResult } from "../../../control-plane/jobs/accept.ts";
import { claimJobs, type GrantedLease } from "../../../control-plane/jobs/claim.ts";
import { ClaimFloors } from "../../../control-plane/jobs/claim_floor.ts";
import { enqueueJobs } from "../../../control-plane/jobs/enqueue.ts";
import { recordHeartbeat } from "../../../control-plane/jobs/heartbeat.ts";
import { type BenchServer, walBytes } from "./bench_server.ts";
import { CONNECTIONS, PAYLOAD } from "./contender.ts";
import { type BenchAgent, insertAgents, insertSites } from "./rookery_fleet.ts";

const HEARTBEATS_PER_MINUTE = 3;
const SESSIONS_PER_SITE = 10;

export interface NightPlan {
  readonly devices: number;
  readonly agents: number;
  /** How long the night is, and how many minutes of it are played. */
  readonly windowMinutes: number;
  readonly minutes: number;
}

/** How many calls of each kind, and how long all of them took with sixteen at once. */
export interface Calls {
  count: number;
  milliseconds: number;
}

export interface Night {
  readonly jobs: number;
  readonly calls: Readonly<Record<CallKind, Calls>>;
  /** What each minute of the night took. */
  readonly minuteSeconds: readonly number[];
  readonly walBytes: number;
  readonly tables: readonly { readonly name: string; readonly bytes: number }[];
}

type CallKind = "enqueue" | "heartbeat" | "claim" | "result";

export async function playNight(
  server: BenchServer,
  plan: NightPlan,
  step: (text: string) => void,
): Promise<Night> {
  return await server.inDatabase(async (address, admin) => {
    await migrate(admin.sql);
    await using database = connectDatabase(address, { poolSize: CONNECTIONS });
    const { db } = database;
    step(`${plan.devices} devices go into the database`);
    const perSite = Math.ceil(plan.devices / plan.agents);
    await insertSites(db, { count: plan.agents, perSite, limit: SESSIONS_PER_SITE });
    const agents = await insertAgents(db, 1);
    await admin.sql`vacuum analyze`;
    await admin.sql`checkpoint`;
    const night = new NightWork(db, agents);
    const from = await walBytes(admin);
    const minuteSeconds: number[] = [];
    let jobs = 0;
    for (let minute = 0; minute < plan.minutes; minute++) {
      step(`minute ${minute + 1} of ${plan.minutes}`);
      const due = await chooseDue(db, minute, plan.windowMinutes);
      const startedAt = performance.now();
      jobs += await night.play(due);
      minuteSeconds.push((performance.now() - startedAt) / 1_000);
    }
    const done = await countDone(db);
    if (done !== jobs) throw new Error(`${jobs} jobs were ordered, and ${done} are done`);
    const bytes = await walBytes(admin) - from;
    return { jobs, calls: night.calls, minuteSeconds, walBytes: bytes, tables: await sizes(db) };
  });
}

type Due = ReadonlyMap<SiteId, readonly DeviceId[]>;

/** What the policies would say; it is not what is measured. */
async function chooseDue(db: Kysely<Database>, minute: number, window: number): Promise<Due> {
  const { rows } = await sql<{ siteId: SiteId; ids: DeviceId[] }>`
    select site_id, array_agg(id) as ids from devices
    where (hashtext(id::text) & 1073741823) % ${window}::int = ${minute}::int
    group by site_id`.execute(db);
  return new Map(rows.map(({ siteId, ids }) => [siteId, ids]));
}

class NightWork {
  readonly calls: Record<CallKind, Calls> = {
    enqueue: { count: 0, milliseconds: 0 },
    heartbeat: { count: 0, milliseconds: 0 },
    claim: { count: 0, milliseconds: 0 },
    result: { count: 0, milliseconds: 0 },
  };
  readonly #db: Kysely<Database>;
  readonly #agents: readonly BenchAgent[];
  readonly #floors = new ClaimFloors();

  constructor(db: Kysely<Database>, agents: readonly BenchAgent[]) {
    this.#db = db;
    this.#agents = agents;
  }

  /** Orders what is due, and has it done; every agent is heard of three times meanwhile. */
  async play(due: Due): Promise<number> {
    await this.#each("enqueue", [...due], async ([siteId, deviceIds]) => {
      const order = { siteId, deviceIds, kind: "run_commands", payload: PAYLOAD } as const;
      await inTransaction(
        this.#db,
        (tx) => enqueueJobs(tx, { ...order, urgency: "normal", priority: 0 }),
      );
    });
    await this.#beat(new Map());
    let asking = this.#agents.filter(({ siteIds }) => siteIds.some((id) => due.has(id)));
    let beats = 1;
    let jobs = 0;
    while (asking.length > 0) {
      const held = new Map<BenchAgent, readonly GrantedLease[]>();
      await this.#each("claim", asking, async (agent) => {
        const leases = await this.#claim(agent);
        if (leases.length > 0) held.set(agent, leases);
      });
      // The heartbeat that starts them is one of the minute's; without work it is the agents' all the same.
      if (held.size > 0 && beats < HEARTBEATS_PER_MINUTE) {
        await this.#beat(held);
        beats++;
      }
      const results = [...held].flatMap(([agent, leases]) =>
        leases.map((lease) => ({ agent, lease }))
      );
      await this.#each("result", results, ({ agent, lease }) => this.#settle(agent, lease));
      jobs += results.length;
      asking = [...held.keys()];
    }
    for (; beats < HEARTBEATS_PER_MINUTE; beats++) await this.#beat(new Map());
    return jobs;
  }

  async #beat(held: ReadonlyMap<BenchAgent, readonly GrantedLease[]>): Promise<void> {
    await this.#each("heartbeat", this.#agents, async (agent) => {
      const leaseIds = (held.get(agent) ?? []).map(({ leaseId }) => leaseId);
      await recordHeartbeat(this.#db, { ...agent, leaseIds });
    });
  }

  async #claim(agent: BenchAgent): Promise<readonly GrantedLease[]> {
    const order = { ...agent, claimId: newId<ClaimId>(), wanted: SESSIONS_PER_SITE };
    const can = { platforms: ["frr"], kinds: ["run_commands"] };
    return await claimJobs(this.#db, { ...order, ...can }, this.#floors);
  }

  async #settle({ agentId }: BenchAgent, lease: GrantedLease): Promise<void> {
    const verdict = { status: "completed", report: { ok: true } } as const;
    const envelope = { sha256: "a".repeat(64), durationMs: 30_000 };
    const { answer } = await inTransaction(
      this.#db,
      (tx) => acceptResult(tx, { ...lease, agentId }, { verdict, envelope }),
    );
    if (answer !== "accepted") throw new Error(`A result was answered with ${answer}`);
  }

  async #each<T>(kind: CallKind, items: readonly T[], work: (item: T) => Promise<void>) {
    const waiting = items.values();
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
      for (const item of waiting) await work(item);
    }));
    this.calls[kind].count += items.length;
    this.calls[kind].milliseconds += performance.now() - startedAt;
  }
}

async function countDone(db: Kysely<Database>): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from done where outcome = 'completed'`.execute(db);
  return rows[0]?.count ?? 0;
}

/** With their indexes; partitions count for their table. */
async function sizes(db: Kysely<Database>) {
  const { rows } = await sql<{ name: string; bytes: number }>`
    select coalesce(i.inhparent::regclass, c.oid::regclass)::text as name,
      sum(pg_total_relation_size(c.oid))::float8 as bytes
    from pg_class c left join pg_inherits i on i.inhrelid = c.oid
    where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
    group by 1 order by 2 desc limit 10`.execute(db);
  return rows;
}
