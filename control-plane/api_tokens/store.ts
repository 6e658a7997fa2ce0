import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { ApiTokenId, SiteId, UserId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { ApiTokensTable, Database } from "../database/schema.ts";
import type { UserCaller } from "../http/caller.ts";
import { digestSecret, newSecret } from "../http/secret_token.ts";
import { grantsOf, narrowGrants } from "../permissions/grants.ts";
import { rulesOf } from "../permissions/rules.ts";
import { dueOf } from "../users/due.ts";

export type ApiTokenRow = Selectable<ApiTokensTable>;

/** Not every request writes: the time of last use is this coarse. */
const TOUCH_SECONDS = 60;

export interface NewApiToken {
  readonly userId: UserId;
  readonly name: string;
  readonly expiresInDays: number;
  readonly permissions?: readonly string[] | undefined;
  readonly siteIds?: readonly SiteId[] | undefined;
}

/** Makes a token; the secret is returned once and kept nowhere. */
export async function insertApiToken(
  tx: Transaction<Database>,
  token: NewApiToken,
): Promise<{ readonly row: ApiTokenRow; readonly secret: string }> {
  const secret = newSecret("rkt");
  const row = await tx.insertInto("apiTokens").values({
    id: newId(),
    userId: token.userId,
    name: token.name,
    secretSha256: digestSecret(secret),
    lastUsedAt: null,
    expiresAt: sql`now() + make_interval(days => ${token.expiresInDays}::integer)`,
    revokedAt: null,
    permissions: token.permissions === undefined ? null : [...token.permissions],
    siteIds: token.siteIds === undefined ? null : [...token.siteIds],
  }).returningAll().executeTakeFirstOrThrow();
  return { row, secret };
}

/** The person of a token that is neither over nor revoked, unless they were disabled. */
export async function findApiTokenCaller(
  db: Kysely<Database>,
  secret: string,
): Promise<UserCaller | undefined> {
  const row = await selectLive(db).where("apiTokens.secretSha256", "=", digestSecret(secret))
    .executeTakeFirst();
  if (row?.stale) await touchApiToken(db, row.id);
  return row && callerOf(row);
}

/** The same person as they are now; looking is no use of the token. */
export async function findApiTokenAgain(
  db: Kysely<Database>,
  tokenId: ApiTokenId,
): Promise<UserCaller | undefined> {
  const row = await selectLive(db).where("apiTokens.id", "=", tokenId).executeTakeFirst();
  return row && callerOf(row);
}

function selectLive(db: Kysely<Database>) {
  return db.selectFrom("apiTokens").innerJoin("users", "users.id", "apiTokens.userId")
    .select(["apiTokens.id", "apiTokens.name", "users.id as userId", "users.username"])
    .select("users.mustChangePassword")
    .select(["users.administrator", "apiTokens.permissions", "apiTokens.siteIds"])
    .select(rulesOf.as("rules"))
    .select(sql<boolean>`coalesce(api_tokens.last_used_at, '-infinity')
      < now() - make_interval(secs => ${TOUCH_SECONDS})`.as("stale"))
    .where("apiTokens.revokedAt", "is", null)
    .where(sql<boolean>`coalesce(api_tokens.expires_at > now(), true)`)
    .where("users.disabledAt", "is", null);
}

type LiveRow = NonNullable<Awaited<ReturnType<ReturnType<typeof selectLive>["executeTakeFirst"]>>>;

function callerOf(row: LiveRow): UserCaller {
  const { userId, username, permissions, siteIds } = row;
  return {
    kind: "user",
    userId,
    username,
    due: dueOf({ ...row, awaitsCode: false, mustEnrol: false }),
    grants: narrowGrants(grantsOf(row), { permissions, siteIds: siteIds as SiteId[] | null }),
    via: {
      kind: "api_token",
      tokenId: row.id,
      tokenName: row.name,
      isLimited: permissions !== null,
    },
  };
}

async function touchApiToken(db: Kysely<Database>, id: ApiTokenId): Promise<void> {
  await db.updateTable("apiTokens").set({ lastUsedAt: sql`now()` }).where("id", "=", id).execute();
}

/** A person's tokens, newest first, revoked ones too. */
export function selectApiTokens(db: Kysely<Database>, userId: UserId): Promise<ApiTokenRow[]> {
  return db.selectFrom("apiTokens").selectAll().where("userId", "=", userId)
    .orderBy("id", "desc").limit(500).execute();
}

/** Revokes all tokens of a person: whoever they were lost to with the account loses them too. */
export async function revokeApiTokensOf(tx: Transaction<Database>, userId: UserId): Promise<void> {
  await tx.updateTable("apiTokens").set({ revokedAt: sql`now()` })
    .where("userId", "=", userId).where("revokedAt", "is", null).execute();
}

/** Revokes one of a person's tokens; undefined when they have no such token that works. */
export function revokeApiToken(
  tx: Transaction<Database>,
  token: { readonly id: ApiTokenId; readonly userId: UserId },
): Promise<ApiTokenRow | undefined> {
  return tx.updateTable("apiTokens").set({ revokedAt: sql`now()` }).where("id", "=", token.id)
    .where("userId", "=", token.userId).where("revokedAt", "is", null)
    .returningAll().executeTakeFirst();
}
