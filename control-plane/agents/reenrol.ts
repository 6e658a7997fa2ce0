import { sql, type Transaction } from "kysely";
import type { AgentId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { returnAllLeases } from "../jobs/reap.ts";
import type { Enrolment } from "./enrolment.ts";
import { insertKey, killKeys } from "./key_store.ts";
import { type JoinTokenRow, lockAgentRow, markJoinTokenUsed } from "./store.ts";

/**
 * Gives an agent that exists a new key: id, name, sites and history stay, everything under the old key is over at once.
 * Also the way back for an agent that was revoked.
 */
export async function reenrol(
  tx: Transaction<Database>,
  token: JoinTokenRow & { readonly replacesAgentId: AgentId },
  enrolment: Enrolment,
): Promise<AgentId> {
  const { key, address, requestId } = enrolment;
  const agent = await lockAgentRow(tx, token.replacesAgentId);
  if (!agent) throw new ProblemError("join-token-invalid", "The join token's agent is gone.");
  await replaceKey(tx, agent.id, { token, enrolment });
  await tx.deleteFrom("agentSessions").where("agentId", "=", agent.id).execute();
  await returnAllLeases(tx, agent.id);
  // The new installation counts its boots from one; none of the old ones comes back without a key.
  await tx.deleteFrom("agentBoots").where("agentId", "=", agent.id).execute();
  await markJoinTokenUsed(tx, { id: token.id, agentId: agent.id, thumbprint: key.thumbprint });
  await writeAudit(tx, {
    actor: { kind: "agent", id: agent.id, name: agent.name, address, requestId },
    action: "agent.reenrol",
    target: { kind: "agent", id: agent.id },
    detail: {
      thumbprint: key.thumbprint,
      oldThumbprint: agent.thumbprint,
      oldStatus: agent.status,
      joinTokenId: token.id,
    },
  });
  return agent.id;
}

async function replaceKey(
  tx: Transaction<Database>,
  agentId: AgentId,
  { token, enrolment }: { token: JoinTokenRow; enrolment: Enrolment },
): Promise<void> {
  const { key: { thumbprint, jwk: signJwk }, sealJwk, version, drivers } = enrolment;
  await killKeys(tx, agentId, { except: thumbprint });
  await insertKey(tx, { agentId, thumbprint, signJwk, sealJwk, state: "current" });
  await tx.updateTable("agents").set({
    ...{ signJwk, sealJwk, thumbprint, version, drivers },
    status: token.requireApproval ? "pending" : "active",
    sessionSequence: 0,
    enrolledAt: sql<Temporal.Instant>`now()`,
    revokedAt: null,
    trustedBootId: null,
    rotationRequestedAt: null,
  }).where("id", "=", agentId).execute();
}
