import type { Kysely, Transaction } from "kysely";
import type { Permission } from "@rookery/shared/api/access.ts";
import {
  type ApiToken,
  createApiToken,
  listApiTokens,
  revokeApiToken,
} from "@rookery/shared/api/api_tokens.ts";
import type { SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import { can, reachOf, type UserCaller } from "../http/caller.ts";
import { route } from "../http/route.ts";
import type { LiveSettings } from "../settings/live_settings.ts";
import { isSiteVisible } from "../jobs/job_queries.ts";
import {
  type ApiTokenRow,
  insertApiToken,
  revokeApiToken as revokeRow,
  selectApiTokens,
} from "./store.ts";

export interface ApiTokenServices {
  readonly db: Kysely<Database>;
  readonly settings: LiveSettings;
}

const USUAL_DAYS = 90;

/** A person's own API tokens. */
export function mountApiTokens(app: App, { db, settings }: ApiTokenServices): void {
  route(app, listApiTokens, async (_input, { caller }) => {
    return { items: (await selectApiTokens(db, caller.userId)).map(toApiToken) };
  });
  route(app, createApiToken, async ({ body }, context) => {
    requireBrowserSession(context.caller);
    const { userId } = context.caller;
    refuseUnheld(body.permissions, context.caller);
    const expiresInDays = await chooseDays(settings, body.expiresInDays);
    return await inTransaction(db, async (tx) => {
      await refuseUnreached(tx, body, context.caller);
      const { row, secret } = await insertApiToken(tx, { ...body, expiresInDays, userId });
      const target = { kind: "api_token", id: row.id };
      const { name, permissions, siteIds } = row;
      const detail = { name, expiresAt: row.expiresAt?.toString(), permissions, siteIds };
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

async function chooseDays(settings: LiveSettings, asked: number | undefined): Promise<number> {
  const most = (await settings.read())["security.api_token_max_days"];
  if (asked === undefined) return Math.min(USUAL_DAYS, most);
  if (asked <= most) return asked;
  const detail = `must be at most ${most}, which the setting security.api_token_max_days allows`;
  const pointer = "#/expiresInDays";
  throw refusedField(pointer, detail);
}

/** A token is made of what its person has. */
function refuseUnheld(permissions: readonly Permission[] | undefined, caller: UserCaller): void {
  const index = permissions?.findIndex((name) => !can(caller, name)) ?? -1;
  if (index < 0) return;
  const detail = "is a permission that you do not have yourself";
  const pointer = `#/permissions/${index}`;
  throw refusedField(pointer, detail);
}

/** Each site must be one that every one of the permissions reaches. */
async function refuseUnreached(
  tx: Transaction<Database>,
  { permissions = [], siteIds = [] }: {
    readonly permissions?: readonly Permission[] | undefined;
    readonly siteIds?: readonly SiteId[] | undefined;
  },
  caller: UserCaller,
): Promise<void> {
  for (const [index, siteId] of siteIds.entries()) {
    for (const permission of permissions) {
      if (await isSiteVisible(tx, { scope: reachOf(caller, permission), siteId })) continue;
      const detail = "there is no such site";
      const pointer = `#/siteIds/${index}`;
      throw refusedField(pointer, detail);
    }
  }
}

function toApiToken(row: ApiTokenRow): ApiToken {
  return {
    id: row.id,
    name: row.name,
    permissions: row.permissions,
    siteIds: row.siteIds,
    createdAt: row.createdAt.toString(),
    lastUsedAt: row.lastUsedAt?.toString() ?? null,
    expiresAt: row.expiresAt?.toString() ?? null,
    revokedAt: row.revokedAt?.toString() ?? null,
  };
}
