import type { Kysely } from "kysely";
import { PROTOCOL_VERSION } from "@rookery/shared/api/agent_protocol.ts";
import type { AgentId, BootId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { sessionTtlSeconds } from "../jobs/lease_details.ts";
import { returnOtherBoots } from "../jobs/reap.ts";
import { noteBoot, siteIdsOf, upsertSession } from "./store.ts";

const MIN_HEARTBEAT_SECONDS = 20;
const MOST_BOOTS_AHEAD = 100_000;
/** Heartbeats a second that the control plane wants to bear, whatever the size of the fleet. */
const HEARTBEATS_PER_SECOND = 500;
/** A lease must survive two lost heartbeats. */
const HEARTBEATS_PER_TTL = 3;

export interface Boot {
  readonly agentId: AgentId;
  readonly bootId: BootId;
  readonly sequence: number;
  readonly capacity: number;
  readonly agentVersion: string;
  readonly protocolVersion: number;
  readonly drivers: Record<string, string>;
}

export interface OpenedSession {
  readonly siteIds: SiteId[];
  readonly ttlSeconds: number;
}

/**
 * Opens the session of a boot, or the same boot's once more; another boot frees the leases of the one before
 * in the same transaction. A boot counter that went back by more than a lost write is a copy of the agent.
 */
export function openSession(db: Kysely<Database>, boot: Boot): Promise<OpenedSession> {
  if (boot.protocolVersion !== PROTOCOL_VERSION) {
    throw new ProblemError(
      "agent-too-old",
      `The agent speaks protocol ${boot.protocolVersion}, the control plane ${PROTOCOL_VERSION}.`,
    );
  }
  return inTransaction(db, async (tx) => {
    const agent = await tx.selectFrom("agents").select(["sessionSequence", "status"])
      .where("id", "=", boot.agentId).forNoKeyUpdate().executeTakeFirstOrThrow();
    if (agent.status !== "active") {
      throw new ProblemError("agent-revoked", "This agent was revoked.");
    }
    if (boot.sequence < agent.sessionSequence - 1) {
      throw new ProblemError(
        "agent-locked",
        `The agent's boot counter went back from ${agent.sessionSequence} to ${boot.sequence}.`,
      );
    }
    refuseLeap(boot, agent.sessionSequence);
    const siteIds = await siteIdsOf(tx, boot.agentId);
    const ttlSeconds = await sessionTtlSeconds(tx, siteIds);
    await upsertSession(tx, { ...boot, ttlSeconds });
    await returnOtherBoots(tx, boot);
    await noteBoot(tx, {
      agentId: boot.agentId,
      sequence: Math.max(agent.sessionSequence, boot.sequence),
      version: boot.agentVersion,
      drivers: boot.drivers,
    });
    return { siteIds, ttlSeconds };
  });
}

/** An agent may be ahead of a restored database, but not so far that its own next boot would be behind for ever. */
function refuseLeap({ sequence }: Boot, known: number): void {
  if (sequence <= known + MOST_BOOTS_AHEAD) return;
  const detail = `is ${sequence}, although the last known boot was number ${known}`;
  throw new ProblemError("validation", `#/sequence: ${detail}`, {
    errors: [{ detail, pointer: "#/sequence" }],
  });
}

/** How long an agent may wait until its next heartbeat: the same load for any size of the fleet. */
export function heartbeatSeconds(ttlSeconds: number, agents: number): number {
  const scaled = Math.max(MIN_HEARTBEAT_SECONDS, agents / HEARTBEATS_PER_SECOND);
  return Math.min(scaled, ttlSeconds / HEARTBEATS_PER_TTL);
}
