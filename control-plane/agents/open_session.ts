import { isDeepStrictEqual } from "node:util";
import type { Kysely, Transaction } from "kysely";
import type { SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { systemActor, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { Log } from "../http/log.ts";
import { sessionTtlSeconds } from "../jobs/lease_details.ts";
import { returnOtherBoots } from "../jobs/reap.ts";
import { findBoot, type HeardBoot, noteBootHeard, replaceOtherBoots } from "./boot_store.ts";
import { judgeBoot, type Refusal } from "./judge_boot.ts";
import { findKeyHolder, type KeyHolder, promoteNextKey, wantsNewKeys } from "./key_store.ts";
import { lockAgent } from "./lock_agent.ts";
import { whyTooOld } from "./served_versions.ts";
import { noteBoot, noteTooOld, siteIdsOf, upsertSession } from "./store.ts";
import { takeProof } from "./used_proofs.ts";

const MIN_HEARTBEAT_SECONDS = 20;
const MOST_BOOTS_AHEAD = 100_000;
/** Heartbeats a second that the control plane wants to bear, whatever the size of the fleet. */
export const HEARTBEATS_PER_SECOND = 500;
/** A lease must survive two lost heartbeats. */
export const HEARTBEATS_PER_TTL = 3;

export interface Boot extends HeardBoot {
  readonly capacity: number;
  readonly agentVersion: string;
  readonly protocolVersion: number;
  readonly drivers: Record<string, string>;
  readonly kinds: readonly string[];
  /** The `jti` of the proof that opens the session. */
  readonly jti: string;
  readonly requestId: string;
  /** What the size of the fleet asks for, whatever the sites say. */
  readonly minTtlSeconds?: number;
}

export interface OpenedSession {
  readonly siteIds: SiteId[];
  readonly ttlSeconds: number;
  /** The agent is to make new keys. */
  readonly rotateKeys: boolean;
  /** Other drivers than it reported the last time. */
  readonly driversChanged: boolean;
}

interface Opening {
  readonly db: Kysely<Database>;
  readonly log: Log;
  readonly engineVersion: string;
}

/**
 * Opens the session of a boot, or the same boot's once more; another boot frees the leases of the one before
 * in the same transaction. Two copies of one agent lock it, see `judgeBoot`.
 */
export async function openSession(
  { db, log, engineVersion }: Opening,
  boot: Boot,
): Promise<OpenedSession> {
  // A refusal that leaves its mark must commit, so it is thrown only afterwards.
  const opened = await inTransaction(db, (tx) => openOrRefuse(tx, boot, engineVersion));
  if (!("problem" in opened)) return opened;
  const { problem, consequence } = opened;
  if (consequence === "lock") {
    log({
      level: "error",
      message: "Agent locked",
      agentId: boot.agentId,
      reason: problem.message,
    });
  }
  throw problem;
}

async function openOrRefuse(
  tx: Transaction<Database>,
  boot: Boot,
  engineVersion: string,
): Promise<OpenedSession | Refusal> {
  await tx.selectFrom("agents").select("id").where("id", "=", boot.agentId).forNoKeyUpdate()
    .executeTakeFirst();
  // A statement of its own: what another session changed while this one waited for the lock counts.
  const holder = await findKeyHolder(tx, boot);
  if (!holder) throw new ProblemError("agent-revoked", "No agent has this key.");
  if (!await takeProof(tx, boot)) {
    throw new ProblemError("invalid-proof", "The proof was used before.");
  }
  const refusal = judgeBoot(holder, boot, await findBoot(tx, boot));
  if (refusal) {
    await markRefusal(tx, boot, refusal);
    return refusal;
  }
  refuseLeap(boot, holder.agent.sessionSequence);
  const tooOld = whyTooOld(boot, engineVersion);
  if (tooOld) {
    await noteTooOld(tx, { agentId: boot.agentId, version: boot.agentVersion });
    return { problem: tooOld, consequence: "none" };
  }
  return await admit(tx, boot, holder);
}

async function admit(
  tx: Transaction<Database>,
  boot: Boot,
  { agent, keyState }: KeyHolder,
): Promise<OpenedSession> {
  if (keyState === "next") await useNewKey(tx, boot, agent);
  await noteBootHeard(tx, boot, { admitted: true });
  await replaceOtherBoots(tx, boot);
  const siteIds = await siteIdsOf(tx, boot.agentId);
  const ttlSeconds = Math.max(boot.minTtlSeconds ?? 0, await sessionTtlSeconds(tx, siteIds));
  await upsertSession(tx, { ...boot, ttlSeconds });
  await returnOtherBoots(tx, boot);
  await noteBoot(tx, {
    agentId: boot.agentId,
    sequence: Math.max(agent.sessionSequence, boot.sequence),
    version: boot.agentVersion,
    drivers: boot.drivers,
    kinds: boot.kinds,
  });
  const driversChanged = !isDeepStrictEqual(agent.drivers, boot.drivers);
  const rotateKeys = await wantsNewKeys(tx, boot.agentId);
  return { siteIds, ttlSeconds, rotateKeys, driversChanged };
}

async function useNewKey(tx: Transaction<Database>, boot: Boot, agent: KeyHolder["agent"]) {
  await promoteNextKey(tx, agent, boot.thumbprint);
  const { address, requestId, thumbprint } = boot;
  await writeAudit(tx, {
    actor: { kind: "agent", id: agent.id, name: agent.name, address, requestId },
    action: "agent.rotate_keys",
    target: { kind: "agent", id: agent.id },
    detail: { thumbprint, oldThumbprint: agent.thumbprint },
  });
}

async function markRefusal(
  tx: Transaction<Database>,
  boot: Boot,
  { problem, consequence }: Refusal,
): Promise<void> {
  if (consequence === "none") return;
  await noteBootHeard(tx, boot, { admitted: false });
  if (consequence === "lock") {
    const { address, requestId } = boot;
    const actor = { ...systemActor("fork detection"), address, requestId };
    await lockAgent(tx, boot.agentId, { actor, reason: problem.message });
  }
}

/** An agent may be ahead of a restored database, but not so far that its own next boot would be behind for ever. */
function refuseLeap({ sequence }: Boot, known: number): void {
  if (sequence <= known + MOST_BOOTS_AHEAD) return;
  const detail = `is ${sequence}, although the last known boot was number ${known}`;
  throw refusedField("#/sequence", detail);
}

/** How long an agent may wait until its next heartbeat: the same load for any size of the fleet. */
export function heartbeatSeconds(ttlSeconds: number, agents: number): number {
  const scaled = Math.max(MIN_HEARTBEAT_SECONDS, agents / HEARTBEATS_PER_SECOND);
  return Math.min(scaled, ttlSeconds / HEARTBEATS_PER_TTL);
}
