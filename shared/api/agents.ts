import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { AgentId, Instant, JoinTokenId, SiteId, TenantId } from "../ids.ts";
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
  agentId: AgentId.nullable(),
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
  reply: Agent,
});

export const createJoinToken = endpoint({
  method: "POST",
  path: "/api/v1/join-tokens",
  access: "agents:write",
  summary: "Make a one-time join token; it is shown once",
  body: z.strictObject({
    agentName: Name,
    siteIds: z.array(SiteId).min(1).max(1_000),
    /** One hour by default, seven days at most. */
    expiresInSeconds: z.int().min(60).max(7 * 86_400).default(3_600),
  }),
  reply: z.object({ ...JoinTokenState.shape, joinToken: JoinToken }),
  status: 201,
});

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
