import type { Transaction } from "kysely";
import type { AgentId } from "@rookery/shared/ids.ts";
import { type Actor, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { returnAllLeases } from "../jobs/reap.ts";
import { selectBoots } from "./boot_store.ts";

/** As many boots as the audit row of a fork describes. */
const NAMED_BOOTS = 4;

/**
 * Two copies of an agent exist: neither gets anything more until a person has chosen. Its session ends, its leases go
 * to others, and the audit row names the boots with their addresses and times.
 */
export async function lockAgent(
  tx: Transaction<Database>,
  agentId: AgentId,
  fork: { readonly actor: Actor; readonly reason: string },
): Promise<void> {
  await tx.updateTable("agents").set({ status: "locked" }).where("id", "=", agentId).execute();
  await tx.deleteFrom("agentSessions").where("agentId", "=", agentId).execute();
  await returnAllLeases(tx, agentId);
  const boots = (await selectBoots(tx, agentId)).slice(0, NAMED_BOOTS);
  await writeAudit(tx, {
    actor: fork.actor,
    action: "agent.lock",
    target: { kind: "agent", id: agentId },
    detail: {
      reason: fork.reason,
      boots: boots.map(({ bootId, sequence, address, thumbprint, firstAt, lastAt }) => ({
        bootId,
        sequence,
        address,
        thumbprint,
        firstAt: firstAt.toString(),
        lastAt: lastAt.toString(),
      })),
    },
  });
}
