import type { Kysely } from "kysely";
import {
  createJoinToken,
  deleteJoinToken,
  getAgent,
  listAgents,
  listJoinTokens,
  revokeAgent,
} from "@rookery/shared/api/agents.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { AgentId, JoinTokenId, type SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { returnAllLeases } from "../jobs/reap.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { agentOf, readAgent } from "./agent_view.ts";
import { countHeldCredentials } from "./held_credentials.ts";
import { planEnrolment } from "./plan_enrolment.ts";
import {
  deleteUnusedJoinToken,
  insertJoinToken,
  type JoinTokenRow,
  markRevoked,
  selectAgents,
  selectJoinTokens,
} from "./store.ts";

/** Agents and join tokens, as people see them. */
export function mountAgents(
  app: App,
  { db, keyRing }: { readonly db: Kysely<Database>; readonly keyRing: KeyRing },
): void {
  route(app, listAgents, async ({ query: { limit, cursor } }, { scope }) => {
    const after = readCursor(cursor, AgentId);
    const rows = await selectAgents(db, { scope, after, limit: limit + 1 });
    return pageOf(rows, limit, { item: agentOf, position: (row) => row.id });
  });

  route(app, getAgent, async ({ params }, { scope }) => await readAgent(db, scope, params.agentId));

  route(app, revokeAgent, async ({ params: { agentId } }, context) => {
    const { scope } = context;
    await readAgent(db, scope, agentId);
    const credentialsHeld = await inTransaction(db, async (tx) => {
      const isNew = await markRevoked(tx, agentId);
      if (isNew) await returnAllLeases(tx, agentId);
      // After the agent's row was taken: every delivery that was on its way is in the ledger by now.
      const held = await countHeldCredentials(tx, { agentId, scope });
      const target = { kind: "agent", id: agentId };
      const detail = { credentialsHeld: held };
      if (isNew) {
        await writeAudit(tx, { actor: actorOf(context), action: "agent.revoke", target, detail });
      }
      return held;
    });
    return { ...await readAgent(db, scope, agentId), credentialsHeld };
  });

  route(app, createJoinToken, async ({ body }, context) => {
    const secret = `rkj_${randomSecret()}`;
    const row = await inTransaction(db, async (tx) => {
      const planned = await planEnrolment(tx, context.scope, body);
      const { expiresInSeconds, requireApproval } = body;
      const token = await insertJoinToken(tx, {
        ...planned,
        ...{ expiresInSeconds, requireApproval },
        id: newId<JoinTokenId>(),
        secretSha256: await sha256(secret),
        createdBy: context.caller.userId,
      });
      const { agentName, siteIds, replacesAgentId } = planned;
      await writeAudit(tx, {
        actor: actorOf(context),
        action: "join_token.create",
        target: { kind: "join_token", id: token.id },
        detail: { agentName, siteIds, requireApproval, replacesAgentId },
      });
      return token;
    });
    return { ...joinTokenOf(row), joinToken: `${secret}.${keyRing.signing.thumbprint}` };
  });

  route(app, listJoinTokens, async ({ query: { limit, cursor } }, { scope }) => {
    const before = readCursor(cursor, JoinTokenId);
    const rows = await selectJoinTokens(db, { scope, before, limit: limit + 1 });
    return pageOf(rows, limit, { item: joinTokenOf, position: (row) => row.id });
  });

  route(app, deleteJoinToken, async ({ params: { joinTokenId } }, context) => {
    await inTransaction(db, async (tx) => {
      const { scope } = context;
      if (!await deleteUnusedJoinToken(tx, { scope, id: joinTokenId })) {
        throw new ProblemError("not-found", "There is no unused join token of this id.");
      }
      const target = { kind: "join_token", id: joinTokenId };
      await writeAudit(tx, { actor: actorOf(context), action: "join_token.delete", target });
    });
  });
}

function joinTokenOf(row: JoinTokenRow) {
  return {
    ...row,
    siteIds: row.siteIds as SiteId[],
    createdAt: row.createdAt.toString(),
    expiresAt: row.expiresAt.toString(),
    usedAt: row.usedAt?.toString() ?? null,
  };
}

/** 256 random bits. */
function randomSecret(): string {
  return crypto.getRandomValues(new Uint8Array(32))
    .toBase64({ alphabet: "base64url", omitPadding: true });
}
