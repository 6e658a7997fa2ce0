import type { Transaction } from "kysely";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { SealJwk } from "@rookery/shared/api/agent_protocol.ts";
import type { AgentId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { systemActor, writeAudit } from "../audit/store.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import type { ProvenKey } from "./proof.ts";
import { findKey } from "./key_store.ts";
import { reenrol } from "./reenrol.ts";
import {
  type AgentRow,
  insertAgent,
  type JoinTokenRow,
  lockJoinToken,
  markJoinTokenUsed,
} from "./store.ts";

export interface Enrolment {
  readonly joinToken: string;
  /** The key that signed the request: proven, not only claimed. */
  readonly key: ProvenKey;
  readonly sealJwk: SealJwk;
  readonly version: string;
  readonly drivers: Readonly<Record<string, string>>;
  readonly address: string;
  readonly requestId: string;
}

/** The digest under which a join token is stored; the part after the dot is public. */
export function joinTokenDigest(joinToken: string): Promise<string> {
  return sha256(joinToken.split(".")[0] ?? "");
}

/**
 * Turns a join token into an agent. Once: the same key again is the same agent (its reply was lost), another
 * key is refused and audited, because somebody else has seen the token.
 */
export async function enrol(tx: Transaction<Database>, enrolment: Enrolment): Promise<AgentId> {
  const token = await lockJoinToken(tx, await joinTokenDigest(enrolment.joinToken));
  if (!token) throw invalid("There is no such join token.");
  if (token.usedByThumbprint !== null) return await enrolAgain(token, enrolment);
  if (token.expired) throw invalid("The join token has expired.");
  const known = await findKey(tx, enrolment.key.thumbprint);
  if (known) throw new ProblemError("conflict", "This key belongs to an enrolled agent already.");
  if (token.replacesAgentId === null) return await enrolFirst(tx, token, enrolment);
  return await reenrol(tx, { ...token, replacesAgentId: token.replacesAgentId }, enrolment);
}

function enrolAgain(token: JoinTokenRow, { key }: Enrolment): AgentId {
  if (token.usedByThumbprint !== key.thumbprint || token.agentId === null) {
    throw new ReusedTokenError(token);
  }
  return token.agentId;
}

/** A used token in the hands of another key. */
export class ReusedTokenError extends ProblemError {
  readonly token: JoinTokenRow;

  constructor(token: JoinTokenRow) {
    super("join-token-invalid", "The join token was used by another agent.");
    this.token = token;
  }
}

async function enrolFirst(tx: Transaction<Database>, token: JoinTokenRow, enrolment: Enrolment) {
  const { key, sealJwk, version, drivers } = enrolment;
  const siteIds = await existingSites(tx, token);
  const agentId = newId<AgentId>();
  await insertAgent(tx, {
    id: agentId,
    tenantId: token.tenantId,
    name: token.agentName,
    status: token.requireApproval ? "pending" : "active",
    signJwk: key.jwk,
    sealJwk,
    thumbprint: key.thumbprint,
    version,
    drivers,
    siteIds,
  });
  await markJoinTokenUsed(tx, { id: token.id, agentId, thumbprint: key.thumbprint });
  await writeAudit(tx, {
    actor: { ...originOf(enrolment), kind: "agent", id: agentId, name: token.agentName },
    action: "agent.enrol",
    target: { kind: "agent", id: agentId },
    detail: { thumbprint: key.thumbprint, joinTokenId: token.id },
  });
  return agentId;
}

/**
 * Sites may have gone since the token was made; without any the agent would have nothing to do. Locked, so that none goes
 * before the agent stands in the database.
 */
async function existingSites(tx: Transaction<Database>, token: JoinTokenRow) {
  const rows = await tx.selectFrom("sites").select("id").where("id", "in", token.siteIds as never)
    .where("tenantId", "=", token.tenantId).forKeyShare().execute();
  if (rows.length === 0) throw invalid("None of the join token's sites exists any more.");
  return rows.map((row) => row.id);
}

function invalid(detail: string): ProblemError {
  return new ProblemError("join-token-invalid", detail);
}

/** Says in the audit log that somebody else holds a used token; the transaction of the refusal is gone. */
export async function auditReuse(
  tx: Transaction<Database>,
  { token }: ReusedTokenError,
  enrolment: Enrolment,
): Promise<void> {
  await writeAudit(tx, {
    actor: { ...systemActor("enrolment"), ...originOf(enrolment) },
    action: "join_token.reuse",
    target: { kind: "join_token", id: token.id },
    detail: { agentId: token.agentId, thumbprint: enrolment.key.thumbprint },
  });
}

function originOf({ address, requestId }: Enrolment) {
  return { address, requestId };
}

/** What an enrolled agent is told about itself; one that is locked hears of it when it opens its session. */
export function standingOrRefuse(agent: AgentRow | undefined) {
  if (!agent || agent.status === "revoked") {
    throw new ProblemError("agent-revoked", "This agent was revoked.");
  }
  const status: "active" | "pending" = agent.status === "pending" ? "pending" : "active";
  return { name: agent.name, status };
}
