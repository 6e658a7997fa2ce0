import type { Kysely } from "kysely";
import {
  changePassword,
  getMe,
  listSessions,
  login,
  logout,
  revokeSession,
} from "@rookery/shared/api/sessions.ts";
import type { UserId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import { route } from "../http/route.ts";
import { readGrants } from "../permissions/read_grants.ts";
import { findUser, setPassword, type ShownUser } from "../users/store.ts";
import { type CodeLoginServices, mountCodeLogin } from "./code_routes.ts";
import { checkNewPassword } from "../users/password_policy.ts";
import { checkOwnPassword, checkPassword } from "./check_password.ts";
import { awaitCode, openSession, setCookies, toFreshMe, toMe } from "./open_session.ts";
import { sessionOf } from "./session_view.ts";
import { deleteSession, deleteSessionsOf, selectSessions } from "./store.ts";

export type SessionServices = CodeLoginServices;

/** Login, logout, and what people do with their own account. */
export function mountSessions(app: App, services: SessionServices): void {
  mountLogin(app, services);
  mountCodeLogin(app, services);
  mountOwnSessions(app, services);
  mountOwnPassword(app, services);
}

function mountLogin(app: App, services: SessionServices): void {
  const { db, cookie } = services;
  route(app, login, async ({ body }, context) => {
    const user = await checkPassword(services, { ...body, context });
    const from = { ...context, cookie };
    if (user.hasSecondFactor) {
      setCookies(context, await inTransaction(db, (tx) => awaitCode(tx, user, from)));
      return toMe(user, { grants: new Map(), via: "session", due: "second_factor" });
    }
    setCookies(context, await inTransaction(db, (tx) => openSession(tx, user, from)));
    return toFreshMe(user, await readGrants(db, user.id));
  });
  route(app, logout, async (_input, context) => {
    const id = requireBrowserSession(context.caller);
    await inTransaction(db, async (tx) => {
      await deleteSession(tx, { id, userId: context.caller.userId });
      const target = { kind: "session", id };
      await writeAudit(tx, { actor: actorOf(context), action: "session.delete", target });
    });
    context.setHeader("set-cookie", cookie.clear());
    context.setHeader("clear-site-data", '"cache"');
  });
  route(app, getMe, async (_input, { caller }) => {
    const { grants, due, via } = caller;
    return toMe(await ownUser(db, caller.userId), { grants, due, via: via.kind });
  });
}

function mountOwnSessions(app: App, { db }: SessionServices): void {
  route(app, listSessions, async (_input, { caller }) => {
    const rows = await selectSessions(db, caller.userId);
    return { items: rows.map((row) => sessionOf(row, caller)) };
  });
  route(app, revokeSession, async ({ params }, context) => {
    requireBrowserSession(context.caller);
    await inTransaction(db, async (tx) => {
      const { userId } = context.caller;
      if (!await deleteSession(tx, { id: params.sessionId, userId })) {
        throw new ProblemError("not-found", "You have no such session.");
      }
      const target = { kind: "session", id: params.sessionId };
      await writeAudit(tx, { actor: actorOf(context), action: "session.delete", target });
    });
  });
}

function mountOwnPassword(app: App, services: SessionServices): void {
  const { db, passwords, settings } = services;
  route(app, changePassword, async ({ body }, context) => {
    await checkNewPassword(settings, body.newPassword, "newPassword");
    const except = requireBrowserSession(context.caller);
    const { userId } = context.caller;
    const own = { password: body.currentPassword, context };
    const { passwordHash: replacing } = await checkOwnPassword(services, own);
    refuseSame(body);
    const passwordHash = await passwords.hash(body.newPassword);
    await inTransaction(db, async (tx) => {
      const wanted = { passwordHash, mustChangePassword: false, replacing };
      if (!await setPassword(tx, userId, wanted)) changedMeanwhile();
      await deleteSessionsOf(tx, userId, { except });
      const target = { kind: "user", id: userId };
      await writeAudit(tx, { actor: actorOf(context), action: "user.change_password", target });
    });
  });
}

/** Asked once the current one is known to be right: a demand for another one is not met by the same. */
function refuseSame(
  { currentPassword, newPassword }: Readonly<Record<"currentPassword" | "newPassword", string>>,
): void {
  if (currentPassword.normalize("NFC") !== newPassword.normalize("NFC")) return;
  throw refusedField("#/newPassword", "must be another one than the current one");
}

function changedMeanwhile(): never {
  throw new ProblemError("conflict", "Somebody has given you another password meanwhile.");
}

async function ownUser(db: Kysely<Database>, id: UserId): Promise<ShownUser> {
  const user = await findUser(db, id);
  if (user) return user;
  throw new ProblemError("session-required", "This user does not exist any more.");
}
