import { type Kysely, sql, type Transaction } from "kysely";
import type { AgentId, BootId, LeaseId } from "@rookery/shared/ids.ts";
import { inTransaction } from "../database/transaction.ts";
import type { Database } from "../database/schema.ts";
import { announceJobs } from "../outbox/announce.ts";
import { SessionLostError } from "./claim.ts";
import { returnLeases } from "./return_leases.ts";

const FORGOTTEN_SECONDS = 60;

export interface Heartbeat {
  readonly agentId: AgentId;
  readonly bootId: BootId;
  /** Every lease the agent works on; the first mention starts it. */
  readonly leaseIds: readonly LeaseId[];
  /** What the size of the fleet asks for, whatever the sites say. */
  readonly minTtlSeconds?: number;
}

export interface HeartbeatReply {
  readonly ttlSeconds: number;
  /** Leases whose jobs were cancelled: abort their sessions and report `cancelled`. */
  readonly cancel: readonly LeaseId[];
  /** Leases the agent no longer holds: abort them. */
  readonly unknown: readonly LeaseId[];
}

interface HeldLease {
  readonly id: LeaseId;
  readonly cancelRequested: boolean;
  /** Offered and named now for the first time, or started and not named any more: see below. */
  readonly moves: boolean;
}

interface Renewed {
  readonly ttlSeconds: number;
  readonly held: readonly HeldLease[];
}

/**
 * Renews every lease of an agent with one narrow update, and mostly that is all: only a lease that starts, or that its
 * agent has forgotten, needs a transaction. Throws SessionLostError when its session died.
 */
export async function recordHeartbeat(
  db: Kysely<Database>,
  beat: Heartbeat,
): Promise<HeartbeatReply> {
  const renewed = await renewSession(db, beat);
  if (!renewed.held.some((lease) => lease.moves)) return replyOf(beat, renewed);
  return await inTransaction(db, async (tx) => {
    await renewSession(tx, beat);
    await startLeases(tx, beat);
    await takeForgotten(tx, beat);
    return replyOf(beat, await renewSession(tx, beat));
  });
}

function replyOf({ leaseIds }: Heartbeat, { ttlSeconds, held }: Renewed): HeartbeatReply {
  const ids = new Set(held.map((lease) => lease.id));
  return {
    ttlSeconds,
    cancel: held.filter((lease) => lease.cancelRequested).map((lease) => lease.id),
    unknown: leaseIds.filter((id) => !ids.has(id)),
  };
}

/** By what the sites say now, so that a change takes effect at once; null for an agent without sites. */
function ttlBySites(beat: Heartbeat) {
  return sql`(select greatest(max(t.lease_ttl_seconds), ${beat.minTtlSeconds ?? 0}::int)
    from agent_sites a join sites t on t.id = a.site_id where a.agent_id = ${beat.agentId}
    having count(*) > 0)`;
}

/** Also says which leases the agent holds, as they were before this statement. */
async function renewSession(db: Kysely<Database>, beat: Heartbeat): Promise<Renewed> {
  const named = sql`l.id = any(${[...beat.leaseIds]}::uuid[])`;
  const { rows: [renewed] } = await sql<Renewed>`
    with renewed as (
      update agent_sessions set (seen_at, ttl_seconds, expires_at) = (
        select clock_timestamp(), ttl.seconds,
          clock_timestamp() + make_interval(secs => ttl.seconds)
        from (select coalesce(${ttlBySites(beat)}, ttl_seconds) as seconds) ttl)
      where agent_id = ${beat.agentId} and boot_id = ${beat.bootId}
        and expires_at > clock_timestamp()
      returning ttl_seconds
    )
    select ttl_seconds, coalesce((
        select jsonb_agg(jsonb_build_object('id', l.id, 'cancelRequested', l.cancel_requested,
          'moves', ${named} and not l.running or ${isForgotten(beat)}))
        from leases l where l.agent_id = ${beat.agentId} and l.boot_id = ${beat.bootId}
      ), '[]') as held
    from renewed`.execute(db);
  if (!renewed) throw new SessionLostError("The agent has no live session with this boot id");
  return renewed;
}

/**
 * A started lease that its agent does not name any more was dropped there (it fenced itself, or its report was refused):
 * nobody works on it. Not a young one, which an earlier heartbeat on its way may not have known.
 */
async function takeForgotten(tx: Transaction<Database>, beat: Heartbeat): Promise<void> {
  const forgotten = sql`
    l.agent_id = ${beat.agentId} and l.boot_id = ${beat.bootId} and ${isForgotten(beat)}`;
  await returnLeases(tx, forgotten, { attempt: "lost", code: "lease_lost", cost: "loss" });
}

function isForgotten({ leaseIds }: Heartbeat) {
  return sql`(l.running
    and l.granted_at < clock_timestamp() - make_interval(secs => ${FORGOTTEN_SECONDS}::int)
    and l.id <> all(${[...leaseIds]}::uuid[]))`;
}

const nowStarted = sql`
  select site_id, job_id, device_id,
    jsonb_build_object('state', 'leased', 'agentId', agent_id, 'epoch', epoch) as detail
  from started`;

/** Rows are locked in key order, as everywhere, so that two writers of leases never wait in a circle. */
async function startLeases(tx: Transaction<Database>, beat: Heartbeat): Promise<void> {
  if (beat.leaseIds.length === 0) return;
  await sql`
    with offered as (
      select site_id, device_id from leases
      where agent_id = ${beat.agentId} and boot_id = ${beat.bootId} and not running
        and id = any(${[...beat.leaseIds]}::uuid[])
      order by site_id, device_id for no key update
    ), started as (
      update leases l set running = true, started_at = clock_timestamp() from offered o
      where l.site_id = o.site_id and l.device_id = o.device_id
      returning l.site_id, l.job_id, l.device_id, l.agent_id, l.epoch
    )
    ${announceJobs("started", nowStarted)}`.execute(tx);
}
