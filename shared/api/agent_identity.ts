/** What people decide about an agent's identity: approval, forks, keys, and what it has ever held. */
import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { AgentId, BootId, CredentialId, Instant } from "../ids.ts";
import { Agent } from "./agents.ts";
import { listOf, Page, text } from "./page.ts";

const AgentParams = z.strictObject({ agentId: AgentId });

/**
 * `current`: has the session; `replaced`: another boot came after it; `waiting`: was heard and may not in, a
 * person decides; `refused`: a person trusted another one.
 */
export const AgentBootState = z.enum(["current", "replaced", "waiting", "refused"])
  .meta({ id: "AgentBootState" });

/** One start of an agent's process, or of a copy of it. */
export const AgentBoot = z.object({
  bootId: BootId,
  state: AgentBootState,
  /** The agent's own boot counter. */
  sequence: z.int(),
  /** Of the key that it proved. */
  thumbprint: z.string(),
  /** Where its last session request came from. */
  address: z.string(),
  firstAt: Instant,
  /** When it last asked for a session, which it does every few minutes. */
  lastAt: Instant,
  replacedAt: Instant.nullable(),
}).meta({ id: "AgentBoot" });
export type AgentBoot = z.infer<typeof AgentBoot>;

export const listAgentBoots = endpoint({
  method: "GET",
  path: "/api/v1/agents/:agentId/boots",
  access: "agents:read",
  summary: "List the newest boots of an agent, the last one heard first",
  params: AgentParams,
  reply: z.object({ items: z.array(AgentBoot) }),
});

export const retrustAgent = endpoint({
  method: "POST",
  path: "/api/v1/agents/:agentId/retrust",
  access: "agents:write",
  summary:
    "Trust one boot of a locked agent; every other is refused for good and new keys are made",
  params: AgentParams,
  body: z.strictObject({ bootId: BootId }),
  reply: Agent,
});

export const requestKeyRotation = endpoint({
  method: "POST",
  path: "/api/v1/agents/:agentId/rotate-keys",
  access: "agents:write",
  summary: "Ask an agent for new keys; it makes them when it next renews its session",
  params: AgentParams,
  reply: Agent,
  status: 202,
});

export const approveAgent = endpoint({
  method: "POST",
  path: "/api/v1/agents/:agentId/approve",
  access: "agents:write",
  summary: "Approve a pending agent by the fingerprint that it printed",
  params: AgentParams,
  body: z.strictObject({
    fingerprint: text(100).min(1, "must not be empty").meta({ example: "A".repeat(43) }),
  }),
  reply: Agent,
});

export const rejectAgent = endpoint({
  method: "POST",
  path: "/api/v1/agents/:agentId/reject",
  access: "agents:write",
  summary: "Reject a pending agent: it is revoked before it did anything",
  params: AgentParams,
  reply: Agent,
});

/** A version of a credential that was sealed to an agent, however long ago. */
export const HeldCredential = z.object({
  credentialId: CredentialId,
  /** Null when the credential was deleted since. */
  name: z.string().nullable(),
  version: z.int(),
  /** Whether it is still the version in use: then it is to be changed after a revocation. */
  inUse: z.boolean(),
  /** For how many devices it was delivered. */
  devices: z.int(),
  firstAt: Instant,
  lastAt: Instant,
}).meta({ id: "HeldCredential" });
export type HeldCredential = z.infer<typeof HeldCredential>;

export const listAgentCredentials = endpoint({
  method: "GET",
  path: "/api/v1/agents/:agentId/credentials",
  access: "agents:read",
  summary: "List every credential that an agent ever held, the worklist after its revocation",
  params: AgentParams,
  query: Page,
  reply: listOf(HeldCredential),
});
