import type { Kysely } from "kysely";
import type { AgentId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import { type AgentView, selectAgents } from "./store.ts";

/** One agent as people see it; to those who may see none of its sites it does not exist. */
export async function readAgent(db: Kysely<Database>, scope: Scope, agentId: AgentId) {
  const [row] = await selectAgents(db, { scope, agentId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such agent.");
  return agentOf(row);
}

/** An agent's row as the wire has it. */
export function agentOf(row: AgentView) {
  return {
    ...row,
    enrolledAt: row.enrolledAt.toString(),
    revokedAt: row.revokedAt?.toString() ?? null,
    tooOld: row.tooOldSince !== null,
    lastSeenAt: row.lastSeenAt?.toString() ?? null,
  };
}
