import type { Kysely } from "kysely";
import { systemActor, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { findUserByName, hasAdministrator, lockAdministrators } from "../users/store.ts";
import { insertSetupLink } from "./store.ts";

/**
 * Makes the link by which the first administrator is made; undefined when there is one already. The secret stands in the
 * fragment, which browsers keep to themselves: it reaches no log and no Referer.
 */
export async function issueSetupLink(
  db: Kysely<Database>,
  publicUrl: string,
): Promise<URL | undefined> {
  return await inTransaction(db, async (tx) => {
    await lockAdministrators(tx);
    if (await hasAdministrator(tx)) return undefined;
    return linkOf(publicUrl, await insertSetupLink(tx, { purpose: "setup" }));
  });
}

/**
 * Makes a link that sets a new password for an administrator, for somebody who can run commands on the server. Throws an
 * Error for people when there is no such administrator.
 */
export async function recoverAdministrator(
  db: Kysely<Database>,
  options: { readonly username: string; readonly publicUrl: string },
): Promise<URL> {
  return await inTransaction(db, async (tx) => {
    await lockAdministrators(tx);
    const user = await findUserByName(tx, options.username);
    if (!user?.administrator) {
      throw new Error(
        `Cannot recover "${options.username}": there is no administrator of that name`,
      );
    }
    if (user.disabledAt !== null) {
      throw new Error(
        `Cannot recover "${options.username}": the user is disabled; recover another administrator, who can enable it`,
      );
    }
    const secret = await insertSetupLink(tx, { purpose: "recovery", userId: user.id });
    await writeAudit(tx, {
      actor: systemActor("admin:recover"),
      action: "user.issue_recovery_link",
      target: { kind: "user", id: user.id },
    });
    return linkOf(options.publicUrl, secret);
  });
}

function linkOf(publicUrl: string, secret: string): URL {
  const url = new URL("/setup", publicUrl);
  url.hash = secret;
  return url;
}
