import { type Kysely, sql, type Transaction } from "kysely";
import type { UserId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { digestSecret, newSecret } from "../http/secret_token.ts";
import { canonicalUsername } from "../users/username.ts";

/** How long a browser is known in which nobody logs in. */
export const KNOWN_BROWSER_DAYS = 180;
/** Of one person: a program that logs in without keeping cookies must not fill the table. */
const MOST_BROWSERS = 20;

/** The digest of a browser's secret when the person of that name has logged in with it; undefined for anybody else's. */
export async function findKnownBrowser(
  db: Kysely<Database>,
  { secret, username }: { readonly secret: string; readonly username: string },
): Promise<string | undefined> {
  const row = await db.selectFrom("knownBrowsers")
    .innerJoin("users", "users.id", "knownBrowsers.userId").select("secretSha256")
    .where("secretSha256", "=", digestSecret(secret))
    .where(sql<string>`lower(username collate "C")`, "=", canonicalUsername(username))
    .where(isKnown).executeTakeFirst();
  return row?.secretSha256;
}

/** Notes that a person has logged in with a browser. Returns the secret that it is to keep: the one it has, or a new one. */
export async function knowBrowser(
  tx: Transaction<Database>,
  { userId, secret }: { readonly userId: UserId; readonly secret: string | undefined },
): Promise<string> {
  if (secret !== undefined && await touchBrowser(tx, { userId, secret })) return secret;
  const fresh = newSecret("rkb");
  await tx.insertInto("knownBrowsers").values({ userId, secretSha256: digestSecret(fresh) })
    .execute();
  await sql`delete from known_browsers where secret_sha256 in (
    select secret_sha256 from known_browsers where user_id = ${userId}
    order by last_used_at desc offset ${MOST_BROWSERS})`.execute(tx);
  return fresh;
}

const isKnown = sql<boolean>`known_browsers.last_used_at >
  now() - make_interval(days => ${KNOWN_BROWSER_DAYS}::int)`;

async function touchBrowser(
  tx: Transaction<Database>,
  { userId, secret }: { readonly userId: UserId; readonly secret: string },
): Promise<boolean> {
  const { numUpdatedRows } = await tx.updateTable("knownBrowsers").set({ lastUsedAt: sql`now()` })
    .where("secretSha256", "=", digestSecret(secret)).where("userId", "=", userId).where(isKnown)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Removes those that are known no more. */
export async function deleteOldBrowsers(db: Kysely<Database>): Promise<void> {
  await db.deleteFrom("knownBrowsers").where(({ not }) => not(isKnown)).execute();
}
