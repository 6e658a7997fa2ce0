import type { Kysely } from "kysely";
import {
  type ApiToken,
  createApiToken,
  listApiTokens,
  revokeApiToken,
} from "@rookery/shared/api/api_tokens.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import { route } from "../http/route.ts";
import {
  type ApiTokenRow,
  insertApiToken,
  revokeApiToken as revokeRow,
  selectApiTokens,
} from "./store.ts";

/** A person's own API tokens. */
export function mountApiTokens(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listApiTokens, async (_input, { caller }) => {
    return { items: (await selectApiTokens(db, caller.userId)).map(toApiToken) };
  });
  route(app, createApiToken, async ({ body }, context) => {
    requireBrowserSession(context.caller);
    const { userId } = context.caller;
    return await inTransaction(db, async (tx) => {
      const { row, secret } = await insertApiToken(tx, { ...body, userId });
      const target = { kind: "api_token", id: row.id };
      const detail = { name: row.name, expiresAt: row.expiresAt?.toString() };
      await writeAudit(tx, { actor: actorOf(context), action: "api_token.create", target, detail });
      return { ...toApiToken(row), secret };
    });
  });
  route(app, revokeApiToken, async ({ params }, context) => {
    await inTransaction(db, async (tx) => {
      const { userId } = context.caller;
      const row = await revokeRow(tx, { id: params.apiTokenId, userId });
      if (!row) throw new ProblemError("not-found", "You have no such API token that works.");
      const target = { kind: "api_token", id: row.id };
      const detail = { name: row.name };
      await writeAudit(tx, { actor: actorOf(context), action: "api_token.revoke", target, detail });
    });
  });
}

function toApiToken(row: ApiTokenRow): ApiToken {
  return {
    id: row.id,
    name: row.name,
    createdAt: row.createdAt.toString(),
    lastUsedAt: row.lastUsedAt?.toString() ?? null,
    expiresAt: row.expiresAt?.toString() ?? null,
    revokedAt: row.revokedAt?.toString() ?? null,
  };
}
