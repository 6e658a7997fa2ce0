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
import { AgentId, JoinTokenId, type SiteId, type TenantId } from "@rookery/shared/ids.ts";
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
import type { Scope } from "../permissions/scope.ts";
import {
  type AgentView,
  deleteUnusedJoinToken,
  findNameHolder,
  insertJoinToken,
  type JoinTokenRow,
  markRevoked,
  selectAgents,
  selectJoinTokens,
  selectVisibleSites,
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
    await readAgent(db, context.scope, agentId);
    await inTransaction(db, async (tx) => {
      if (!await markRevoked(tx, agentId)) return;
      await returnAllLeases(tx, agentId);
      const target = { kind: "agent", id: agentId };
      await writeAudit(tx, { actor: actorOf(context), action: "agent.revoke", target });
    });
    return await readAgent(db, context.scope, agentId);
  });

  route(app, createJoinToken, async ({ body }, context) => {
    const secret = `rkj_${randomSecret()}`;
    const row = await inTransaction(db, async (tx) => {
      const tenantId = await tenantOf(tx, context.scope, body.siteIds);
      await refuseTakenName(tx, { tenantId, name: body.agentName });
      const token = await insertJoinToken(tx, {
        ...body,
        id: newId<JoinTokenId>(),
        tenantId,
        secretSha256: await sha256(secret),
        createdBy: context.caller.userId,
      });
      await writeAudit(tx, {
        actor: actorOf(context),
        action: "join_token.create",
        target: { kind: "join_token", id: token.id },
        detail: { agentName: body.agentName, siteIds: body.siteIds },
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

async function readAgent(db: Kysely<Database>, scope: Scope, agentId: AgentId) {
  const [row] = await selectAgents(db, { scope, agentId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such agent.");
  return agentOf(row);
}

function agentOf(row: AgentView) {
  return {
    ...row,
    enrolledAt: row.enrolledAt.toString(),
    revokedAt: row.revokedAt?.toString() ?? null,
    lastSeenAt: row.lastSeenAt?.toString() ?? null,
  };
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

/** Found out now rather than on the agent's machine, where only the enrolment itself is sure. */
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
  return new ProblemError("validation", `#/siteIds/${index}: ${detail}`, {
    errors: [{ detail, pointer: `#/siteIds/${index}` }],
  });
}

/** 256 random bits. */
function randomSecret(): string {
  return crypto.getRandomValues(new Uint8Array(32))
    .toBase64({ alphabet: "base64url", omitPadding: true });
}
