import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { UserId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { Database, SetupLinksTable } from "../database/schema.ts";
import { digestSecret, newSecret } from "../http/secret_token.ts";

export type SetupLinkRow = Selectable<SetupLinksTable>;

/** How long a one-time link works. */
export const SETUP_LINK_SECONDS = 3_600;

/** What a link is for: the first administrator, or a new password for one. */
export type LinkPurpose = { readonly purpose: "setup" } | {
  readonly purpose: "recovery";
  readonly userId: UserId;
};

/** Makes a link and kills the older unused ones of its purpose: only the newest works. Returns the secret. */
export async function insertSetupLink(
  tx: Transaction<Database>,
  link: LinkPurpose,
): Promise<string> {
  await tx.deleteFrom("setupLinks").where("purpose", "=", link.purpose)
    .where("usedAt", "is", null).execute();
  const secret = newSecret(link.purpose === "setup" ? "rku" : "rkr");
  await tx.insertInto("setupLinks").values({
    id: newId(),
    purpose: link.purpose,
    userId: link.purpose === "recovery" ? link.userId : null,
    secretSha256: digestSecret(secret),
    expiresAt: sql`now() + make_interval(secs => ${SETUP_LINK_SECONDS})`,
    usedAt: null,
  }).execute();
  return secret;
}

/** A link that would work now; looked at before anything costly is done for whoever holds it. */
export function findSetupLink(
  db: Kysely<Database>,
  { purpose, secret }: { readonly purpose: "setup" | "recovery"; readonly secret: string },
): Promise<SetupLinkRow | undefined> {
  return db.selectFrom("setupLinks").selectAll().where("secretSha256", "=", digestSecret(secret))
    .where("purpose", "=", purpose).where("usedAt", "is", null)
    .where(sql<boolean>`expires_at > now()`).executeTakeFirst();
}

/** Uses a link up; undefined when it does not work (any more). Of two at once, one gets it. */
export function useSetupLink(
  tx: Transaction<Database>,
  { purpose, secret }: { readonly purpose: "setup" | "recovery"; readonly secret: string },
): Promise<SetupLinkRow | undefined> {
  return tx.updateTable("setupLinks").set({ usedAt: sql`now()` })
    .where("secretSha256", "=", digestSecret(secret)).where("purpose", "=", purpose)
    .where("usedAt", "is", null).where(sql<boolean>`expires_at > now()`)
    .returningAll().executeTakeFirst();
}
