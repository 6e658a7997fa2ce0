import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { AgentId, BootId, Instant, JoinTokenId, SiteId, TenantId } from "../ids.ts";
import { JoinToken } from "./agent_protocol.ts";
import { listOf, Name, Page } from "./page.ts";

export const AgentStatus = z.enum(["pending", "active", "locked", "revoked"])
  .meta({ id: "AgentStatus" });

export const Agent = z.object({
  id: AgentId,
  tenantId: TenantId,
  name: z.string(),
  status: AgentStatus,
  siteIds: z.array(SiteId),
  /** Thumbprint of its signing key (RFC 7638): compare it with what `rookery-agent status` prints. */
  thumbprint: z.string(),
  version: z.string(),
  /** It is refused for its version until it was updated. */
  tooOld: z.boolean(),
  /** After a fork: the only boot that may open a session, until it has new keys. */
  trustedBootId: BootId.nullable(),
  online: z.boolean(),
  lastSeenAt: Instant.nullable(),
  enrolledAt: Instant,
  revokedAt: Instant.nullable(),
  /**
   * An alarm: devices of its sites whose last attempt an agent's local policy refused. The audit action
   * `agent.policy_refused` tells which, and why.
   */
  devicesRefusedByPolicy: z.int(),
}).meta({ id: "Agent" });
export type Agent = z.infer<typeof Agent>;

export const JoinTokenState = z.object({
  id: JoinTokenId,
  agentName: z.string(),
  siteIds: z.array(SiteId),
  createdAt: Instant,
  expiresAt: Instant,
  usedAt: Instant.nullable(),
  /** The agent that it made, or gave a new key to. */
  agentId: AgentId.nullable(),
  requireApproval: z.boolean(),
  /** The agent that gets a new key by it; null when it makes a new agent. */
  replacesAgentId: AgentId.nullable(),
}).meta({ id: "JoinTokenState" });
export type JoinTokenState = z.infer<typeof JoinTokenState>;

const AgentParams = z.strictObject({ agentId: AgentId });

export const listAgents = endpoint({
  method: "GET",
  path: "/api/v1/agents",
  access: "agents:read",
  summary: "List agents",
  query: Page,
  reply: listOf(Agent),
});

export const getAgent = endpoint({
  method: "GET",
  path: "/api/v1/agents/:agentId",
  access: "agents:read",
  summary: "Read one agent",
  params: AgentParams,
  reply: Agent,
});

export const revokeAgent = endpoint({
  method: "POST",
  path: "/api/v1/agents/:agentId/revocation",
  access: "agents:write",
  summary: "Revoke an agent: its leases are taken back, nothing it sends is accepted any more",
  params: AgentParams,
  /** How many credential versions it ever held: they are to be changed, see `listAgentCredentials`. */
  reply: z.object({ ...Agent.shape, credentialsHeld: z.int() }),
});

/** A join token lives this long, unless its agent waits for approval. */
const UNAPPROVED_SECONDS = 3_600;

export const createJoinToken = endpoint({
  method: "POST",
  path: "/api/v1/join-tokens",
  access: "agents:write",
  summary: "Make a one-time join token; it is shown once",
  body: z.strictObject({
    agentName: Name.optional(),
    siteIds: z.array(SiteId).min(1).max(1_000).optional(),
    /** One hour by default and at most; up to seven days when the agent has to be approved. */
    expiresInSeconds: z.int().min(60).max(7 * 86_400).default(UNAPPROVED_SECONDS),
    /** The agent waits, and can do nothing, until its fingerprint is approved. */
    requireApproval: z.boolean().default(false),
    /** Gives this agent a new key and keeps its id, name, sites and history; names no other name or sites. */
    agentId: AgentId.optional(),
  }).superRefine(refineJoinToken),
  reply: z.object({ ...JoinTokenState.shape, joinToken: JoinToken }),
  status: 201,
});

/** What a join token's fields demand of each other, each refusal at the field to mend. */
function refineJoinToken(
  body: {
    agentName?: string | undefined;
    siteIds?: readonly SiteId[] | undefined;
    agentId?: AgentId | undefined;
    expiresInSeconds: number;
    requireApproval: boolean;
  },
  context: z.core.$RefinementCtx,
): void {
  const refuse = (field: string, message: string) =>
    context.addIssue({ code: "custom", path: [field], message });
  for (const field of ["agentName", "siteIds"] as const) {
    const given = body[field] !== undefined;
    if (!given && body.agentId === undefined) refuse(field, "is required for a new agent");
    if (given && body.agentId !== undefined) refuse(field, "an agent that is named keeps its own");
  }
  if (body.expiresInSeconds > UNAPPROVED_SECONDS && !body.requireApproval) {
    refuse("expiresInSeconds", `more than ${UNAPPROVED_SECONDS} needs requireApproval`);
  }
}

export const listJoinTokens = endpoint({
  method: "GET",
  path: "/api/v1/join-tokens",
  access: "agents:read",
  summary: "List join tokens, without their secrets",
  query: Page,
  reply: listOf(JoinTokenState),
});

export const deleteJoinToken = endpoint({
  method: "DELETE",
  path: "/api/v1/join-tokens/:joinTokenId",
  access: "agents:write",
  summary: "Withdraw a join token that was not used",
  params: z.strictObject({ joinTokenId: JoinTokenId }),
  status: 204,
});
