/** The real engine on PostgreSQL, driven by the operations of the model; time is moved by shifting the times of rows. */
import { type Kysely, sql } from "kysely";
import type { AgentId, BootId, ClaimId, DeviceId, JobId, LeaseId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import {
  holdActiveAgent,
  markRevoked,
  setCapacity,
  upsertSession,
} from "../../../control-plane/agents/store.ts";
import { newId } from "../../../control-plane/database/new_id.ts";
import type { Database } from "../../../control-plane/database/schema.ts";
import { inTransaction } from "../../../control-plane/database/transaction.ts";
import { acceptResult, type Verdict as EngineVerdict } from "../../../control-plane/jobs/accept.ts";
import { cancelJob } from "../../../control-plane/jobs/cancel.ts";
import { claimJobs, SessionLostError } from "../../../control-plane/jobs/claim.ts";
import { ClaimFloors } from "../../../control-plane/jobs/claim_floor.ts";
import { enqueueJobs } from "../../../control-plane/jobs/enqueue.ts";
import { recordHeartbeat } from "../../../control-plane/jobs/heartbeat.ts";
import {
  reapLeases,
  releaseLease,
  releaseOffers,
  returnAllLeases,
  returnOtherBoots,
} from "../../../control-plane/jobs/reap.ts";
import { makeSite, type QueueSite } from "../../support/queue.ts";
import { type MadeUp, type Operation, type Verdict, WORN } from "./lease_model.ts";
import { type AgentName, AGENTS, type Grant, initialState } from "./lease_state.ts";

type Of<Type extends Operation["type"]> = Extract<Operation, { type: Type }>;

/** What an operation answered, in the model's words, and the ids that it made up. */
export interface Told {
  readonly reply: unknown;
  readonly madeUp: MadeUp;
}

const NOTHING: MadeUp = new Map();
const URGENCIES: Readonly<Record<number, "interactive" | "normal" | "bulk">> = {
  [-86_400]: "interactive",
  0: "normal",
  21_600: "bulk",
};
export const OFFSETS = Object.keys(URGENCIES).map(Number);

/** A site, its devices and agents; what the model calls by short names has its ids here. */
export class LeaseEngine {
  readonly #db: Kysely<Database>;
  readonly #site: QueueSite;
  readonly #agents: Readonly<Record<AgentName, AgentId>>;
  readonly #boots = new Map<string, BootId>();
  readonly #claims = new Map<string, ClaimId>();
  readonly #leases = new Map<string, LeaseId>();
  readonly #floors = new ClaimFloors();

  private constructor(db: Kysely<Database>, site: QueueSite, agents: Record<AgentName, AgentId>) {
    this.#db = db;
    this.#site = site;
    this.#agents = agents;
  }

  static async make(db: Kysely<Database>): Promise<LeaseEngine> {
    const { devices, maxLive, maxQueued } = initialState();
    const made = await makeSite(db, { devices, maxLive, maxQueued });
    const site = { ...made, deviceIds: made.deviceIds.toSorted() };
    const agents = { a: newId<AgentId>(), b: newId<AgentId>() };
    await sql`
      insert into agents (id, tenant_id, name, sign_jwk, seal_jwk, thumbprint)
      select a.id, t.id, a.id, '{}', '{}', a.id
      from (select id from tenants limit 1) t, unnest(${Object.values(agents)}::uuid[]) a(id)`
      .execute(db);
    const engine = new LeaseEngine(db, site, agents);
    for (const agent of AGENTS) await engine.#open(agent, `${agent}1`);
    return engine;
  }

  get siteId() {
    return this.#site.siteId;
  }

  /** The model's names of what is in the database. */
  get names() {
    const inverse = <Name extends string>(of: Iterable<readonly [Name, string]>) =>
      new Map([...of].map(([name, id]) => [id, name] as const));
    return {
      devices: new Map(this.#site.deviceIds.map((id, index) => [id as string, index])),
      agents: inverse(AGENTS.map((name) => [name, this.#agents[name]] as const)),
      boots: inverse(this.#boots),
      claims: inverse(this.#claims),
    };
  }

  async perform(operation: Operation): Promise<Told> {
    if (operation.type === "enqueue") return await this.#enqueue(operation);
    try {
      return { reply: await this.#perform(operation), madeUp: NOTHING };
    } catch (error) {
      if (error instanceof SessionLostError) return { reply: "session-lost", madeUp: NOTHING };
      if (error instanceof ProblemError) return { reply: error.type, madeUp: NOTHING };
      throw error;
    }
  }

  async #perform(operation: Exclude<Operation, Of<"enqueue">>): Promise<unknown> {
    const db = this.#db;
    const { siteId } = this.#site;
    switch (operation.type) {
      case "claim":
        return await this.#claim(operation);
      case "heartbeat":
        return await this.#heartbeat(operation);
      case "report":
        return await this.#report(operation);
      case "release":
        return await inTransaction(db, (tx) =>
          releaseLease(tx, {
            agentId: this.#agents[operation.agent],
            leaseId: this.#leaseOf(operation.grant),
            siteId,
          }));
      case "drain":
        return await this.#drain(operation);
      case "boot":
        return await this.#boot(operation);
      case "pass":
        return await this.#pass(operation);
      case "reap":
        await reapLeases(db);
        return null;
      case "cancel":
        return await cancelJob(db, { siteId, jobId: operation.job as JobId });
      case "revoke":
        return await this.#revoke(this.#agents[operation.agent]);
      case "pause":
        await sql`update sites set paused = ${operation.paused} where id = ${siteId}`.execute(db);
        return null;
    }
  }

  async #enqueue({ devices, kind, offset }: Of<"enqueue">): Promise<Told> {
    const { siteId, deviceIds } = this.#site;
    const order = {
      ...{ siteId, kind, priority: 0, urgency: URGENCIES[offset] ?? "normal" as const },
      deviceIds: devices.flatMap((index) => deviceIds[index] ?? []),
      payload: kind === "backup_config" ? { captures: [] } : {},
    };
    try {
      const jobs = await inTransaction(this.#db, (tx) => enqueueJobs(tx, order));
      const opened = jobs.filter(({ coalesced }) => !coalesced);
      const indexOf = (id: DeviceId) => deviceIds.indexOf(id);
      return {
        reply: opened.length,
        madeUp: new Map(opened.map(({ deviceId, jobId }) => [indexOf(deviceId), jobId])),
      };
    } catch (error) {
      if (error instanceof ProblemError) return { reply: error.type, madeUp: NOTHING };
      throw error;
    }
  }

  async #claim({ agent, boot, claim, wanted }: Of<"claim">): Promise<unknown> {
    const leases = await claimJobs(this.#db, {
      ...{ agentId: this.#agents[agent], bootId: this.#bootOf(boot), wanted },
      claimId: this.#claims.getOrInsertComputed(claim, () => newId<ClaimId>()),
      ...{ siteIds: [this.#site.siteId], platforms: ["frr"] },
      kinds: ["backup_config", "check_reachability"],
    }, this.#floors);
    for (const { jobId, epoch, leaseId } of leases) this.#leases.set(`${jobId}/${epoch}`, leaseId);
    return leases.map(({ jobId, epoch }) => `${jobId}/${epoch}`).sort();
  }

  async #heartbeat({ agent, boot, names }: Of<"heartbeat">): Promise<unknown> {
    const leaseIds = names.map((grant) => this.#leaseOf(grant));
    const reply = await recordHeartbeat(this.#db, {
      ...{ agentId: this.#agents[agent], bootId: this.#bootOf(boot), leaseIds },
    });
    const known = new Map([...this.#leases].map(([name, id]) => [id, name]));
    const named = (ids: readonly LeaseId[]) => [...new Set(ids.map((id) => known.get(id)))].sort();
    return { cancel: named(reply.cancel), unknown: named(reply.unknown) };
  }

  async #report({ by, grant, verdict, envelope }: Of<"report">): Promise<unknown> {
    const agentId = this.#agents[by];
    const attempt = {
      ...{ siteId: this.#site.siteId, jobId: grant.job as JobId, agentId },
      ...{ leaseId: this.#leaseOf(grant), epoch: grant.epoch },
    };
    const result = { verdict: verdictOf(verdict), envelope: { sha256: envelope, durationMs: 5 } };
    return await inTransaction(this.#db, async (tx) => {
      await holdActiveAgent(tx, agentId);
      const { answer, duplicate } = await acceptResult(tx, attempt, result);
      return { answer, duplicate };
    });
  }

  async #drain({ agent, boot }: Of<"drain">): Promise<unknown> {
    const of = { agentId: this.#agents[agent], bootId: this.#bootOf(boot) };
    await inTransaction(this.#db, async (tx) => {
      await setCapacity(tx, { ...of, capacity: 0 });
      await releaseOffers(tx, of);
    });
    return null;
  }

  async #boot({ agent, again }: Of<"boot">): Promise<unknown> {
    const last = [...this.#boots.keys()].findLast((boot) => boot.startsWith(agent)) ?? "";
    await this.#open(agent, again ? last : `${agent}${Number(last.slice(1)) + 1}`);
    return null;
  }

  async #open(agent: AgentName, boot: string): Promise<void> {
    const bootId = this.#boots.getOrInsertComputed(boot, () => newId<BootId>());
    const session = { agentId: this.#agents[agent], bootId, capacity: 3, ttlSeconds: 180 };
    await inTransaction(this.#db, async (tx) => {
      await upsertSession(tx, session);
      await returnOtherBoots(tx, session);
    });
  }

  async #revoke(agentId: AgentId): Promise<unknown> {
    await inTransaction(this.#db, async (tx) => {
      if (await markRevoked(tx, agentId)) await returnAllLeases(tx, agentId);
    });
    return null;
  }

  async #pass(operation: Of<"pass">): Promise<unknown> {
    const past = sql`clock_timestamp() - interval '1 second'`;
    if (operation.what === "session") {
      await sql`update agent_sessions set expires_at = least(expires_at, ${past})
        where agent_id = ${this.#agents[operation.agent]}`.execute(this.#db);
      return null;
    }
    const { job } = operation;
    await {
      offer: sql`update leases set offer_until = ${past} where job_id = ${job}`,
      deadline: sql`update leases set deadline_at = ${past} where job_id = ${job}`,
      youth: sql`update leases set granted_at = clock_timestamp() - interval '2 minutes'
        where job_id = ${job}`,
      wear: sql`update ready set fails = ${WORN.fails}, session_losses = ${WORN.losses}
        where job_id = ${job}`,
      delay: sql`update ready set due_at = t.now,
          rank = t.now + make_interval(secs => greatest(offset_seconds, 0))
        from (select clock_timestamp() as now) t where job_id = ${job} and due_at > t.now`,
    }[operation.what].execute(this.#db);
    return null;
  }

  #bootOf(boot: string): BootId {
    return this.#boots.get(boot) ?? fail(`there is no boot ${boot}`);
  }

  #leaseOf({ job, epoch }: Grant): LeaseId {
    return this.#leases.get(`${job}/${epoch}`) ?? fail(`there is no lease ${job}/${epoch}`);
  }
}

function fail(why: string): never {
  throw new Error(`Cannot go on with the model: ${why}`);
}

function verdictOf(verdict: Verdict): EngineVerdict {
  if (verdict.status === "completed") return { status: "completed", report: {} };
  if (verdict.status === "cancelled") return verdict;
  return { status: "failed", failure: { code: verdict.code, detail: "as ordered" } };
}
