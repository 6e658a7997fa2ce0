import type { Kysely } from "kysely";
import { UserId } from "@rookery/shared/ids.ts";
import {
  createUser,
  deleteUser,
  getUser,
  listUsers,
  updateUser,
} from "@rookery/shared/api/users.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { changedFields } from "../audit/changed_fields.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import type { LiveSettings } from "../settings/live_settings.ts";
import { applyChange, giveRoles, readManaged, refuseNoAdministrator } from "./change_user.ts";
import { checkNewPassword } from "./password_policy.ts";
import type { Passwords } from "./passwords.ts";
import { mountPasswords } from "./password_routes.ts";
import { mountUserSessions } from "./session_routes.ts";
import * as store from "./store.ts";

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
    const rows = await store.selectUsers(db, { after, limit: limit + 1 });
    return pageOf(rows, limit, { item: store.toUser, position: (row) => row.id });
  });
  route(app, getUser, async ({ params }) => store.toUser(await readUser(db, params.userId)));
  mountChanges(app, services);
  mountPasswords(app, services);
  mountUserSessions(app, services);
}

function mountChanges(app: App, { db, passwords, settings }: UserServices): void {
  route(app, createUser, async ({ body: { password, ...wanted } }, context) => {
    requireBrowserSession(context.caller);
    await checkNewPassword(settings, password);
    const passwordHash = await passwords.hash(password);
    return await refuseDuplicates(store.DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const { administrator: _given, roleIds: _later, ...fields } = wanted;
        const made = { ...fields, passwordHash, administrator: false };
        const row = await store.insertUser(tx, made);
        await giveRoles(tx, { before: row, change: wanted, caller: context.caller });
        const target = { kind: "user", id: row.id };
        const entry = { actor: actorOf(context), action: "user.create", target };
        await writeAudit(tx, { ...entry, detail: wanted });
        return store.toUser(await readUser(tx, row.id));
      }));
  });

  route(app, updateUser, async ({ params: { userId }, body }, context) => {
    requireBrowserSession(context.caller);
    return await refuseDuplicates(store.DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const before = await readManaged(tx, userId, context.caller);
        await applyChange(tx, { before, change: body, caller: context.caller });
        const after = store.toUser(await readUser(tx, userId));
        const target = { kind: "user", id: userId };
        const entry = { actor: actorOf(context), action: "user.update", target };
        await writeAudit(tx, { ...entry, detail: changedFields(store.toUser(before), after) });
        return after;
      }));
  });

  route(app, deleteUser, async ({ params: { userId } }, context) => {
    requireBrowserSession(context.caller);
    await inTransaction(db, async (tx) => {
      const { username, administrator } = await readManaged(tx, userId, context.caller);
      await store.deleteUser(tx, userId);
      await refuseNoAdministrator(tx);
      const target = { kind: "user", id: userId };
      const entry = { actor: actorOf(context), action: "user.delete", target };
      await writeAudit(tx, { ...entry, detail: { username, administrator } });
    });
  });
}

async function readUser(db: Kysely<Database>, id: UserId): Promise<store.ShownUser> {
  const user = await store.findUser(db, id);
  if (!user) throw new ProblemError("not-found", "There is no such user.");
  return user;
}
