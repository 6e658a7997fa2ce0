import type { Kysely, Transaction } from "kysely";
import type { JWK } from "jose";
import type { RotationClaims } from "@rookery/shared/key_rotation.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { AgentCaller } from "../http/caller.ts";
import { findKey, insertKey, killKeys, OLD_KEY_SECONDS } from "./key_store.ts";
import { readRotation, type SignedRotation } from "./read_rotation.ts";
import { type AgentRow, findAgent, lockAgentRow } from "./store.ts";

interface AgreedKeys {
  readonly thumbprint: string;
  readonly oldKeyAcceptedSeconds: number;
}

/**
 * Takes down the keys that an agent will use next. Nothing changes until it opens a session with them; the same keys
 * again are the same rotation, others take the place of ones that were never used.
 */
export async function agreeOnKeys(
  { db, issuer }: { readonly db: Kysely<Database>; readonly issuer: string },
  signed: SignedRotation,
  { caller }: { readonly caller: AgentCaller },
): Promise<AgreedKeys> {
  const agent = await findAgent(db, caller.agentId);
  if (!agent) throw new ProblemError("agent-revoked", "This agent is gone.");
  const { claims, thumbprint } = await readRotation(signed, {
    agentId: agent.id,
    issuer,
    oldThumbprint: caller.thumbprint,
    oldJwk: await signJwkOf(db, caller),
  });
  await inTransaction(db, async (tx) => {
    refuseOutsider(await lockAgentRow(tx, agent.id), caller);
    await refuseReplacedBoot(tx, caller);
    await noteNextKey(tx, caller, { claims, thumbprint });
  });
  return { thumbprint, oldKeyAcceptedSeconds: OLD_KEY_SECONDS };
}

async function signJwkOf(db: Kysely<Database>, { thumbprint }: AgentCaller): Promise<JWK> {
  const key = await findKey(db, thumbprint);
  if (!key) throw new ProblemError("agent-revoked", "No agent has this key.");
  return key.signJwk as JWK;
}

/** Looked at under the lock: a revocation, a fork or a re-enrolment may have come first. */
function refuseOutsider(agent: AgentRow | undefined, { thumbprint }: AgentCaller): void {
  if (!agent || agent.status === "revoked") {
    throw new ProblemError("agent-revoked", "This agent was revoked.");
  }
  if (agent.status !== "active") throw new ProblemError("agent-locked", "This agent is locked.");
  if (agent.thumbprint !== thumbprint) {
    throw new ProblemError("session-required", "Another key of this agent took over.");
  }
}

async function refuseReplacedBoot(tx: Transaction<Database>, caller: AgentCaller): Promise<void> {
  const session = await tx.selectFrom("agentSessions").select("bootId")
    .where("agentId", "=", caller.agentId).executeTakeFirst();
  if (session && session.bootId === caller.bootId) return;
  throw new ProblemError("session-required", "Another boot of this agent took over.");
}

async function noteNextKey(
  tx: Transaction<Database>,
  { agentId }: AgentCaller,
  { claims, thumbprint }: { claims: RotationClaims; thumbprint: string },
): Promise<void> {
  const known = await findKey(tx, thumbprint);
  if (known?.agentId === agentId && known.state === "next") return;
  // Also keys that were given up: whoever proposes them again has an old copy of something.
  if (known) {
    throw new ProblemError("conflict", "The new signing key was used before: make another.");
  }
  await killKeys(tx, agentId, { state: "next" });
  const { signJwk, sealJwk } = claims;
  await insertKey(tx, { agentId, thumbprint, signJwk, sealJwk, state: "next" });
}
