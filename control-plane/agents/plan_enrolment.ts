import type { Kysely } from "kysely";
import type { AgentId, SiteId, TenantId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import { findNameHolder, selectAgents, selectVisibleSites } from "./store.ts";

/** What a join token is wanted for: a new agent, or a new key of one that exists. */
export interface WantedEnrolment {
  readonly agentName?: string | undefined;
  readonly siteIds?: readonly SiteId[] | undefined;
  readonly agentId?: AgentId | undefined;
}

export interface PlannedEnrolment {
  readonly tenantId: TenantId;
  readonly agentName: string;
  readonly siteIds: readonly SiteId[];
  readonly replacesAgentId: AgentId | null;
}

/** Finds out now what would else be found out on the agent's machine, where only the enrolment itself is sure. */
export async function planEnrolment(
  db: Kysely<Database>,
  scope: Scope,
  { agentId, agentName = "", siteIds = [] }: WantedEnrolment,
): Promise<PlannedEnrolment> {
  if (agentId !== undefined) return await planReplacement(db, scope, agentId);
  const tenantId = await tenantOf(db, scope, siteIds);
  await refuseTakenName(db, { tenantId, name: agentName });
  return { tenantId, agentName, siteIds, replacesAgentId: null };
}

async function planReplacement(
  db: Kysely<Database>,
  scope: Scope,
  agentId: AgentId,
): Promise<PlannedEnrolment> {
  const [agent] = await selectAgents(db, { scope, agentId, limit: 1 });
  if (!agent) throw refused("agentId", "there is no such agent");
  const { tenantId, name: agentName, siteIds } = agent;
  if (siteIds.length === 0) throw refused("agentId", "this agent has no site any more");
  return { tenantId, agentName, siteIds, replacesAgentId: agentId };
}

/** An agent serves one tenant only: another customer's addresses are not its business. */
async function tenantOf(db: Kysely<Database>, scope: Scope, siteIds: readonly SiteId[]) {
  const sites = await selectVisibleSites(db, scope, siteIds);
  const missing = siteIds.findIndex((id) => !sites.some((site) => site.id === id));
  const [first] = sites;
  if (missing >= 0 || !first) throw refusedSite(Math.max(missing, 0), "there is no such site");
  const foreign = siteIds.findIndex((id) =>
    sites.find((site) => site.id === id)?.tenantId !== first.tenantId
  );
  if (foreign >= 0) throw refusedSite(foreign, "belongs to another tenant than the first site");
  return first.tenantId;
}

async function refuseTakenName(db: Kysely<Database>, wanted: { tenantId: TenantId; name: string }) {
  const holder = await findNameHolder(db, wanted);
  if (!holder) return;
  const detail = holder === "agent"
    ? "another agent has this name: revoke the old agent, or choose another name"
    : "an unused join token is for this name: withdraw it, or choose another name";
  throw new ProblemError("conflict", `#/agentName: ${detail}`, {
    errors: [{ detail, pointer: "#/agentName" }],
  });
}

function refusedSite(index: number, detail: string): ProblemError {
  return refused(`siteIds/${index}`, detail);
}

function refused(field: string, detail: string): ProblemError {
  return refusedField(`#/${field}`, detail);
}
