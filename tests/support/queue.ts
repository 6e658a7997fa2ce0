/** Sites, devices and agent sessions for tests of the lease engine, made by SQL and nothing else. */
import { type Kysely, sql } from "kysely";
import type {
  AgentId,
  BootId,
  ClaimId,
  CredentialId,
  DeviceId,
  JobId,
  LeaseId,
  SiteId,
} from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import { acceptResult, type Verdict } from "../../control-plane/jobs/accept.ts";
import { ClaimFloors } from "../../control-plane/jobs/claim_floor.ts";
import { claimJobs, type GrantedLease } from "../../control-plane/jobs/claim.ts";
import { type EnqueuedJob, enqueueJobs, type JobOrder } from "../../control-plane/jobs/enqueue.ts";
import { upsertSession } from "../../control-plane/agents/store.ts";
import { returnOtherBoots } from "../../control-plane/jobs/reap.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import type { Database } from "../../control-plane/database/schema.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";

export interface QueueSite {
  readonly siteId: SiteId;
  readonly deviceIds: readonly DeviceId[];
}

/** Makes a site of its own with so many devices. */
export async function makeSite(
  db: Kysely<Database>,
  options: {
    devices: number;
    maxLive?: number;
    maxQueued?: number;
    ttlSeconds?: number;
    credentialId?: CredentialId;
  },
): Promise<QueueSite> {
  const siteId = newId<SiteId>();
  await sql`
    insert into sites (id, tenant_id, name, max_live, max_queued, lease_ttl_seconds)
    select ${siteId}, id, ${`site-${siteId}`}, ${options.maxLive ?? 10},
      ${options.maxQueued ?? 10_000}, ${options.ttlSeconds ?? 180}
    from tenants limit 1`.execute(db);
  const { rows } = await sql<{ id: DeviceId }>`
    insert into devices (id, site_id, name, host, platform, credential_id)
    select gen_random_uuid(), ${siteId}, 'device-' || n, '192.0.2.' || n, 'frr',
      ${options.credentialId ?? null}::uuid
    from generate_series(1, ${options.devices}) n returning id`.execute(db);
  return { siteId, deviceIds: rows.map((row) => row.id) };
}

/** One boot of one agent with a live session at a site. */
export interface QueueAgent {
  readonly db: Kysely<Database>;
  readonly agentId: AgentId;
  readonly bootId: BootId;
  claim(wanted: number, claimId?: ClaimId): Promise<GrantedLease[]>;
  /** Starts another boot of the same agent, as after a crash. */
  reboot(): Promise<QueueAgent>;
}

export async function makeAgent(
  db: Kysely<Database>,
  site: QueueSite,
  options: { capacity?: number; ttlSeconds?: number; agentId?: AgentId } = {},
): Promise<QueueAgent> {
  const agentId = options.agentId ?? newId<AgentId>();
  const bootId = newId<BootId>();
  const floors = new ClaimFloors();
  await inTransaction(db, async (tx) => {
    await upsertSession(tx, {
      agentId,
      bootId,
      capacity: options.capacity ?? 10,
      ttlSeconds: options.ttlSeconds ?? 180,
    });
    await returnOtherBoots(tx, { agentId, bootId });
  });
  return {
    db,
    agentId,
    bootId,
    claim: (wanted, claimId = newId<ClaimId>()) =>
      claimJobs(
        db,
        {
          agentId,
          bootId,
          claimId,
          siteIds: [site.siteId],
          wanted,
          platforms: ["frr"],
          kinds: ["backup_config", "check_reachability"],
        },
        floors,
      ),
    reboot: () => makeAgent(db, site, { ...options, agentId }),
  };
}

/** Asks for a job for devices of a site, due now; by default a backup. */
export function enqueue(
  db: Kysely<Database>,
  site: QueueSite,
  options: {
    deviceIds?: readonly DeviceId[];
    urgency?: "interactive" | "normal" | "bulk";
    priority?: number;
    kind?: "backup_config" | "check_reachability";
    occurrence?: JobOrder["occurrence"];
  } = {},
): Promise<EnqueuedJob[]> {
  const { kind = "backup_config", occurrence } = options;
  return inTransaction(db, (tx) =>
    enqueueJobs(tx, {
      siteId: site.siteId,
      deviceIds: options.deviceIds ?? site.deviceIds,
      kind,
      payload: kind === "backup_config" ? { captures: [] } : {},
      ...(occurrence ? { occurrence } : {}),
      urgency: options.urgency ?? "normal",
      priority: options.priority ?? 0,
    }));
}

/** In which of the three tables a job is, with the columns that tests ask about. */
export async function placeOf(db: Kysely<Database>, jobId: JobId) {
  const { rows } = await sql<{
    place: "ready" | "leases" | "done";
    epoch: number;
    fails: number | null;
    outcome: string | null;
    due: boolean | null;
  }>`
    select 'ready' as place, epoch, fails, null as outcome, due_at <= clock_timestamp() as due
      from ready where job_id = ${jobId}
    union all select 'leases', epoch, fails, null, null from leases where job_id = ${jobId}
    union all select 'done', epoch, null, outcome, null from done where job_id = ${jobId}`
    .execute(db);
  return rows;
}

export const COMPLETED: Verdict = { status: "completed", report: {} };

export function failed(code: FailureCode): Verdict {
  return { status: "failed", failure: { code, detail: "as ordered" } };
}

/** Claims the next job; fails when there is none. */
export async function grantOne(agent: QueueAgent): Promise<GrantedLease> {
  const [lease] = await agent.claim(1);
  if (!lease) throw new Error("Nothing was granted");
  return lease;
}

/** Settles an attempt, as its agent's report would. */
export function settle(
  db: Kysely<Database>,
  end: { agent: QueueAgent; lease: GrantedLease; verdict: Verdict; sha256: string },
) {
  const { agent, lease, verdict } = end;
  const envelope = { sha256: `${end.sha256}-${lease.leaseId}`, durationMs: 5 };
  return inTransaction(
    db,
    (tx) => acceptResult(tx, attemptOf(agent, lease), { verdict, envelope }),
  );
}

/** The attempt that a granted lease stands for. */
export function attemptOf(agent: QueueAgent, lease: GrantedLease) {
  const { siteId, jobId, leaseId, epoch } = lease;
  return { siteId, jobId, leaseId, epoch, agentId: agent.agentId };
}

/** Moves a lease's clock, so that no test has to wait. */
export async function age(
  db: Kysely<Database>,
  what: { leaseId: LeaseId; column: "offer_until" | "deadline_at" } | { agentId: AgentId },
): Promise<void> {
  if ("agentId" in what) {
    await sql`update agent_sessions set expires_at = clock_timestamp() - interval '1 second'
      where agent_id = ${what.agentId}`.execute(db);
  } else {
    await sql`update leases set ${sql.ref(what.column)} = clock_timestamp() - interval '1 second'
      where id = ${what.leaseId}`.execute(db);
  }
}
