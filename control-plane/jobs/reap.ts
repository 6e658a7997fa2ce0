import { type Kysely, sql } from "kysely";
import type { AgentId, BootId, LeaseId, SiteId } from "@rookery/shared/ids.ts";
import { inTransaction } from "../database/transaction.ts";
import type { Database } from "../database/schema.ts";
import { returnLeases } from "./return_leases.ts";

/** How many leases each part of a reap gave back. */
export interface Reaped {
  readonly lostSessions: number;
  readonly staleOffers: number;
  readonly passedDeadlines: number;
  readonly promoted: number;
}

/**
 * Gives back what nobody works on any more. Every statement repeats its whole condition on the newest rows,
 * so two replicas reaping at once, or a heartbeat that just came in, change nothing.
 */
export async function reapLeases(db: Kysely<Database>): Promise<Reaped> {
  return {
    lostSessions: await reapLostSessions(db),
    staleOffers: await inTransaction(
      db,
      (tx) =>
        returnLeases(tx, sql`not l.running and l.offer_until < clock_timestamp()`, {
          attempt: "expired",
          code: "session_lost",
          cost: "none",
        }),
    ),
    passedDeadlines: await inTransaction(
      db,
      (tx) =>
        returnLeases(tx, sql`l.running and l.deadline_at < clock_timestamp()`, {
          attempt: "expired",
          code: "deadline_passed",
          cost: "failure",
        }),
    ),
    promoted: await promoteDue(db),
  };
}

/** Locks one dead session at a time: a heartbeat that holds the row is alive, so it is skipped. */
async function reapLostSessions(db: Kysely<Database>): Promise<number> {
  const { rows } = await sql<{ agentId: AgentId }>`
    select s.agent_id from agent_sessions s
    where s.expires_at < clock_timestamp()
      and exists (select 1 from leases l where l.agent_id = s.agent_id)
    order by s.agent_id`.execute(db);
  let returned = 0;
  for (const { agentId } of rows) {
    returned += await inTransaction(db, async (tx) => {
      const dead = await sql`
        select 1 from agent_sessions where agent_id = ${agentId} and expires_at < clock_timestamp()
        for update skip locked`.execute(tx);
      if (dead.rows.length === 0) return 0;
      return await returnLeases(tx, sql`l.agent_id = ${agentId}`, {
        attempt: "lost",
        code: "session_lost",
        cost: "loss",
      });
    });
  }
  return returned;
}

/** A negative offset counts only once a job is due: until then it would stand at the head of the index. */
async function promoteDue(db: Kysely<Database>): Promise<number> {
  return await inTransaction(db, async (tx) => {
    // now() is the same in both statements: what falls due between them waits for the next round.
    const due = sql`offset_seconds < 0 and rank = due_at and due_at <= now()`;
    const { rows: sites } = await sql<{ id: SiteId }>`
      with held as (
        select s.id from sites s where s.id in (select site_id from ready where ${due})
        order by s.id for no key update
      )
      update sites s set queue_version = queue_version + 1 from held h
      where s.id = h.id returning s.id`.execute(tx);
    if (sites.length === 0) return 0;
    const { numAffectedRows } = await sql`
      update ready set rank = due_at + make_interval(secs => offset_seconds)
      where site_id = any(${sites.map(({ id }) => id)}::uuid[]) and ${due}`.execute(tx);
    return Number(numAffectedRows ?? 0n);
  });
}

/** Frees the leases of an agent's earlier boots: they died with it. Called when it opens a session. */
export function returnOtherBoots(
  tx: Parameters<typeof returnLeases>[0],
  agent: { agentId: AgentId; bootId: BootId },
): Promise<number> {
  return returnLeases(tx, sql`l.agent_id = ${agent.agentId} and l.boot_id <> ${agent.bootId}`, {
    attempt: "lost",
    code: "session_lost",
    cost: "loss",
  });
}

/** Takes every lease from an agent that was revoked or locked. */
export function returnAllLeases(
  tx: Parameters<typeof returnLeases>[0],
  agentId: AgentId,
): Promise<number> {
  return returnLeases(tx, sql`l.agent_id = ${agentId}`, {
    attempt: "lost",
    code: "session_lost",
    cost: "none",
  });
}

/** Gives back all that a draining boot was offered and has not started. */
export function releaseOffers(
  tx: Parameters<typeof returnLeases>[0],
  boot: { agentId: AgentId; bootId: BootId },
): Promise<number> {
  const offered =
    sql`l.agent_id = ${boot.agentId} and l.boot_id = ${boot.bootId} and not l.running`;
  return returnLeases(tx, offered, { attempt: "released", code: "session_lost", cost: "none" });
}

/** Gives back one lease that its agent has not started; false when it holds no such offer. */
export async function releaseLease(
  tx: Parameters<typeof returnLeases>[0],
  lease: { agentId: AgentId; leaseId: LeaseId; siteId: SiteId },
): Promise<boolean> {
  const returned = await returnLeases(
    tx,
    sql`l.site_id = ${lease.siteId} and l.id = ${lease.leaseId} and l.agent_id = ${lease.agentId}
      and not l.running`,
    { attempt: "released", code: "session_lost", cost: "none" },
  );
  return returned > 0;
}
