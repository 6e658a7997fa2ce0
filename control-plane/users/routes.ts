import type { Kysely, Transaction } from "kysely";
import { UserId } from "@rookery/shared/ids.ts";
import { createUser, getUser, listUsers, updateUser } from "@rookery/shared/api/users.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { revokeApiTokensOf } from "../api_tokens/store.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { deleteSessionsOf } from "../sessions/store.ts";
import type { LiveSettings } from "../settings/live_settings.ts";
import { checkNewPassword } from "./password_policy.ts";
import type { Passwords } from "./passwords.ts";
import {
  changeUser,
  findUser,
  hasAdministrator,
  insertUser,
  lockAdministrators,
  selectUsers,
  toUser,
  type UserChange,
} from "./store.ts";

export interface UserServices {
  readonly db: Kysely<Database>;
  readonly passwords: Passwords;
  readonly settings: LiveSettings;
}

/** Users, as an administrator manages them. */
export function mountUsers(app: App, services: UserServices): void {
  const { db } = services;
  route(app, listUsers, async ({ query: { limit, cursor } }) => {
    const after = readCursor(cursor, UserId);
    const rows = await selectUsers(db, { after, limit: limit + 1 });
    return pageOf(rows, limit, { item: toUser, position: (row) => row.id });
  });
  route(app, getUser, async ({ params }) => {
    return toUser(await findUser(db, params.userId) ?? unknownUser());
  });
  mountChanges(app, services);
}

function mountChanges(app: App, { db, passwords, settings }: UserServices): void {
  route(app, createUser, async ({ body: { password, ...user } }, context) => {
    requireBrowserSession(context.caller);
    await checkNewPassword(settings, password);
    const passwordHash = await passwords.hash(password);
    return await inTransaction(db, async (tx) => {
      const row = await insertUser(tx, { ...user, passwordHash });
      if (!row) throw new ProblemError("conflict", "There is a user with this name already.");
      const target = { kind: "user", id: row.id };
      await writeAudit(tx, {
        actor: actorOf(context),
        action: "user.create",
        target,
        detail: user,
      });
      return toUser(row);
    });
  });
  route(app, updateUser, async ({ params, body }, context) => {
    requireBrowserSession(context.caller);
    return await inTransaction(db, async (tx) => {
      const row = await applyChange(tx, params.userId, body);
      const target = { kind: "user", id: row.id };
      await writeAudit(tx, {
        actor: actorOf(context),
        action: "user.update",
        target,
        detail: body,
      });
      return toUser(row);
    });
  });
}

async function applyChange(tx: Transaction<Database>, id: UserId, change: UserChange) {
  await lockAdministrators(tx);
  const row = await changeUser(tx, id, change) ?? unknownUser();
  if (row.disabledAt !== null) {
    await deleteSessionsOf(tx, id);
    await revokeApiTokensOf(tx, id);
  }
  if (!await hasAdministrator(tx)) {
    throw new ProblemError("in-use", "This is the last administrator; make another one first.");
  }
  return row;
}

function unknownUser(): never {
  throw new ProblemError("not-found", "There is no such user.");
}
