import { sql, type Transaction } from "kysely";
import type { AgentId, BootId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { type Actor, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { findBoot, type KnownBoot, trustOnlyBoot } from "./boot_store.ts";
import { findKey, killKeys, putInForce } from "./key_store.ts";
import { type AgentRow, lockAgentRow, markRevoked } from "./store.ts";

/** Who decides about which agent. */
export interface Decision {
  readonly agentId: AgentId;
  readonly actor: Actor;
}

/**
 * Trusts one boot of an agent that was copied: its key is the agent's key again, every other boot and key is refused for
 * good, and it alone may open a session until it has made keys that no copy has.
 */
export async function retrust(
  tx: Transaction<Database>,
  { agentId, actor }: Decision,
  bootId: BootId,
): Promise<void> {
  const agent = await lockedRow(tx, agentId);
  if (agent.status !== "locked" && agent.trustedBootId === null) {
    throw new ProblemError("conflict", "This agent is not locked: there is nothing to decide.");
  }
  const boot = await trustableBoot(tx, { agentId, bootId });
  await killKeys(tx, agentId, { except: boot.thumbprint });
  await putInForce(tx, { agentId, thumbprint: boot.thumbprint });
  const refused = await trustOnlyBoot(tx, boot);
  await tx.updateTable("agents").set({
    status: "active",
    trustedBootId: bootId,
    sessionSequence: boot.sequence,
  }).where("id", "=", agentId).execute();
  const { thumbprint } = boot;
  await audit(tx, { agentId, actor }, "agent.retrust", { bootId, thumbprint, refused });
}

async function trustableBoot(
  tx: Transaction<Database>,
  which: { agentId: AgentId; bootId: BootId },
): Promise<KnownBoot> {
  const boot = await findBoot(tx, which);
  if (!boot) throw refusedField("#/bootId", "there is no such boot of this agent");
  if (boot.refusedAt) throw refusedField("#/bootId", "another boot was trusted before this one");
  const key = await findKey(tx, boot.thumbprint);
  if (!key || key.state === "dead") throw refusedField("#/bootId", "its key was replaced for good");
  return boot;
}

/** Approves an agent whose fingerprint somebody read off its machine. */
export async function approve(
  tx: Transaction<Database>,
  { agentId, actor }: Decision,
  fingerprint: string,
): Promise<void> {
  const agent = await pendingRow(tx, agentId);
  if (agent.thumbprint !== fingerprint) {
    throw refusedField(
      "#/fingerprint",
      "is not the one of this agent; reject it if nobody knows it",
    );
  }
  await tx.updateTable("agents").set({ status: "active" }).where("id", "=", agentId).execute();
  await audit(tx, { agentId, actor }, "agent.approve", { fingerprint });
}

/** Rejects an agent that waits: it is revoked. */
export async function reject(
  tx: Transaction<Database>,
  { agentId, actor }: Decision,
): Promise<void> {
  const agent = await pendingRow(tx, agentId);
  await markRevoked(tx, agentId);
  await audit(tx, { agentId, actor }, "agent.reject", { fingerprint: agent.thumbprint });
}

/** Notes that the agent is to make new keys; it hears of it when it next opens its session. */
export async function askForNewKeys(
  tx: Transaction<Database>,
  { agentId, actor }: Decision,
): Promise<void> {
  const agent = await lockedRow(tx, agentId);
  if (agent.status === "revoked") {
    throw new ProblemError("conflict", "This agent is revoked: it has no keys to change.");
  }
  await tx.updateTable("agents").set({ rotationRequestedAt: sql<Temporal.Instant>`now()` })
    .where("id", "=", agentId).execute();
  await audit(tx, { agentId, actor }, "agent.request_key_rotation", {});
}

async function lockedRow(tx: Transaction<Database>, agentId: AgentId): Promise<AgentRow> {
  const agent = await lockAgentRow(tx, agentId);
  if (!agent) throw new ProblemError("not-found", "There is no such agent.");
  return agent;
}

async function pendingRow(tx: Transaction<Database>, agentId: AgentId): Promise<AgentRow> {
  const agent = await lockedRow(tx, agentId);
  if (agent.status === "pending") return agent;
  throw new ProblemError(
    "conflict",
    `This agent does not wait for approval: it is ${agent.status}.`,
  );
}

async function audit(
  tx: Transaction<Database>,
  { agentId, actor }: Decision,
  action: string,
  detail: Record<string, unknown>,
): Promise<void> {
  await writeAudit(tx, { actor, action, target: { kind: "agent", id: agentId }, detail });
}
