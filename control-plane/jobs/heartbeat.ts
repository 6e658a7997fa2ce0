import { type Kysely, sql, type Transaction } from "kysely";
import type { AgentId, BootId, LeaseId } from "@rookery/shared/ids.ts";
import { inTransaction } from "../database/transaction.ts";
import type { Database } from "../database/schema.ts";
import { SessionLostError } from "./claim.ts";
import { returnLeases } from "./return_leases.ts";

const FORGOTTEN_SECONDS = 60;

export interface Heartbeat {
  readonly agentId: AgentId;
  readonly bootId: BootId;
  /** Every lease the agent works on; the first mention starts it. */
  readonly leaseIds: readonly LeaseId[];
}

export interface HeartbeatReply {
  readonly ttlSeconds: number;
  /** Leases whose jobs were cancelled: abort their sessions and report `cancelled`. */
  readonly cancel: readonly LeaseId[];
  /** Leases the agent no longer holds: abort them. */
  readonly unknown: readonly LeaseId[];
}

/** Renews every lease of an agent with one narrow update. Throws SessionLostError when its session died. */
export function recordHeartbeat(db: Kysely<Database>, beat: Heartbeat): Promise<HeartbeatReply> {
  return inTransaction(db, async (tx) => {
    const ttlSeconds = await renewSession(tx, beat);
    await startLeases(tx, beat);
    await takeForgotten(tx, beat);
    const { rows } = await sql<{ id: LeaseId; cancelRequested: boolean }>`
      select id, cancel_requested from leases
      where agent_id = ${beat.agentId} and boot_id = ${beat.bootId}`.execute(tx);
    const held = new Set(rows.map((row) => row.id));
    return {
      ttlSeconds,
      cancel: rows.filter((row) => row.cancelRequested).map((row) => row.id),
      unknown: beat.leaseIds.filter((id) => !held.has(id)),
    };
  });
}

async function renewSession(tx: Transaction<Database>, beat: Heartbeat): Promise<number> {
  const { rows } = await sql<{ ttlSeconds: number }>`
    update agent_sessions set seen_at = clock_timestamp(),
      expires_at = clock_timestamp() + make_interval(secs => ttl_seconds)
    where agent_id = ${beat.agentId} and boot_id = ${beat.bootId}
      and expires_at > clock_timestamp()
    returning ttl_seconds`.execute(tx);
  if (!rows[0]) throw new SessionLostError("The agent has no live session with this boot id");
  return rows[0].ttlSeconds;
}

/**
 * A started lease that its agent does not name any more was dropped there (it fenced itself, or its report was refused):
 * nobody works on it. Not a young one, which an earlier heartbeat on its way may not have known.
 */
async function takeForgotten(tx: Transaction<Database>, beat: Heartbeat): Promise<void> {
  const forgotten = sql`l.agent_id = ${beat.agentId} and l.boot_id = ${beat.bootId} and l.running
    and l.granted_at < clock_timestamp() - make_interval(secs => ${FORGOTTEN_SECONDS})
    and l.id <> all(${[...beat.leaseIds]}::uuid[])`;
  await returnLeases(tx, forgotten, { attempt: "lost", code: "lease_lost", cost: "loss" });
}

/** Rows are locked in key order, as everywhere, so that two writers of leases never wait in a circle. */
async function startLeases(tx: Transaction<Database>, beat: Heartbeat): Promise<void> {
  if (beat.leaseIds.length === 0) return;
  await sql`
    with offered as (
      select site_id, device_id from leases
      where agent_id = ${beat.agentId} and boot_id = ${beat.bootId} and not running
        and id = any(${[...beat.leaseIds]}::uuid[])
      order by site_id, device_id for no key update
    )
    update leases l set running = true from offered o
    where l.site_id = o.site_id and l.device_id = o.device_id`.execute(tx);
}
