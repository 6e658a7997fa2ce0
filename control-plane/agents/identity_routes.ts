import type { Kysely, Transaction } from "kysely";
import { z } from "zod";
import {
  type AgentBoot,
  approveAgent,
  listAgentBoots,
  listAgentCredentials,
  rejectAgent,
  requestKeyRotation,
  retrustAgent,
} from "@rookery/shared/api/agent_identity.ts";
import { type AgentId, CredentialId, MAX_INTEGER } from "@rookery/shared/ids.ts";
import { actorOf } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route, type RouteContext } from "../http/route.ts";
import { readAgent } from "./agent_view.ts";
import { selectBoots } from "./boot_store.ts";
import { approve, askForNewKeys, type Decision, reject, retrust } from "./decide_identity.ts";
import { selectHeldCredentials } from "./held_credentials.ts";

const LedgerPosition = z.tuple([CredentialId, z.int().min(0).max(MAX_INTEGER)]);

/** What people decide about the identity of agents, and what they look at before. */
export function mountAgentIdentity(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listAgentBoots, async ({ params: { agentId } }, { scope }) => {
    await readAgent(db, scope, agentId);
    return { items: (await selectBoots(db, agentId)).map(bootOf) };
  });

  route(
    app,
    retrustAgent,
    async ({ params: { agentId }, body: { bootId } }, context) =>
      await decide(db, { agentId, context }, (tx, decision) => retrust(tx, decision, bootId)),
  );

  route(
    app,
    requestKeyRotation,
    async ({ params: { agentId } }, context) =>
      await decide(db, { agentId, context }, askForNewKeys),
  );

  route(
    app,
    approveAgent,
    async ({ params: { agentId }, body: { fingerprint } }, context) =>
      await decide(db, { agentId, context }, (tx, decision) => approve(tx, decision, fingerprint)),
  );

  route(
    app,
    rejectAgent,
    async ({ params: { agentId } }, context) => await decide(db, { agentId, context }, reject),
  );

  route(app, listAgentCredentials, async ({ params: { agentId }, query }, { scope }) => {
    await readAgent(db, scope, agentId);
    const { limit, cursor } = query;
    const after = readCursor(cursor, LedgerPosition);
    const rows = await selectHeldCredentials(db, { agentId, scope, after, limit: limit + 1 });
    return pageOf(rows, limit, {
      item: (row) => ({
        ...row,
        firstAt: row.firstAt.toString(),
        lastAt: row.lastAt.toString(),
      }),
      position: (row) => [row.credentialId, row.version],
    });
  });
}

type DecidingContext = Pick<RouteContext, "scope" | "caller" | "address" | "requestId">;

/** Decides in one transaction about an agent that the caller may see, and gives the agent as it is then. */
async function decide(
  db: Kysely<Database>,
  { agentId, context }: { agentId: AgentId; context: DecidingContext },
  run: (tx: Transaction<Database>, decision: Decision) => Promise<void>,
) {
  await readAgent(db, context.scope, agentId);
  await inTransaction(db, (tx) => run(tx, { agentId, actor: actorOf(context) }));
  return await readAgent(db, context.scope, agentId);
}

function bootOf(row: Awaited<ReturnType<typeof selectBoots>>[number]): z.input<typeof AgentBoot> {
  return {
    ...row,
    state: stateOf(row),
    firstAt: row.firstAt.toString(),
    lastAt: row.lastAt.toString(),
    replacedAt: row.replacedAt?.toString() ?? null,
  };
}

function stateOf(
  { refusedAt, admitted, replacedAt }: Awaited<ReturnType<typeof selectBoots>>[number],
): AgentBoot["state"] {
  if (refusedAt) return "refused";
  if (!admitted) return "waiting";
  return replacedAt ? "replaced" : "current";
}
