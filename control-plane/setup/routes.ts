import type { Transaction } from "kysely";
import { recover, setUp } from "@rookery/shared/api/setup.ts";
import type { UserId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { revokeApiTokensOf } from "../api_tokens/store.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import { inTransaction } from "../database/transaction.ts";
import type { Database } from "../database/schema.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import { grantsOf } from "../permissions/grants.ts";
import {
  callerOf,
  openSession,
  type OpenSessionServices,
  setCookies,
  toFreshMe,
} from "../sessions/open_session.ts";
import { deleteFactor } from "../second_factor/store.ts";
import { unlockUser } from "../sessions/failure_store.ts";
import { deleteSessionsOf } from "../sessions/store.ts";
import { checkNewPassword } from "../users/password_policy.ts";
import {
  DUPLICATES,
  findUser,
  hasAdministrator,
  insertUser,
  lockAdministrators,
  setPassword,
  type ShownUser,
} from "../users/store.ts";
import { findSetupLink, useSetupLink } from "./store.ts";

/** What the one-time links lead to. */
export function mountSetup(app: App, services: OpenSessionServices): void {
  mountFirstAdministrator(app, services);
  mountRecovery(app, services);
}

function mountFirstAdministrator(app: App, services: OpenSessionServices): void {
  const { db, passwords, cookie, settings } = services;
  route(app, setUp, async ({ body: { token, password, ...names } }, context) => {
    const link = { purpose: "setup", secret: token } as const;
    const found = await findSetupLink(db, link);
    // Asked after it: whoever was faster used the link up, and that is the reason to give.
    if (await hasAdministrator(db)) alreadySetUp();
    if (!found) deadLink();
    await checkNewPassword(settings, password);
    const passwordHash = await passwords.hash(password);
    const { user, cookies } = await refuseDuplicates(
      DUPLICATES,
      () =>
        inTransaction(db, async (tx) => {
          await lockAdministrators(tx);
          if (await hasAdministrator(tx)) alreadySetUp();
          if (!await useSetupLink(tx, link)) deadLink();
          const user = await insertUser(tx, { ...names, passwordHash, administrator: true });
          const target = { kind: "user", id: user.id };
          const actor = actorOf({ ...context, caller: callerOf(user, "") });
          await writeAudit(tx, { actor, action: "user.set_up", target });
          return { user, cookies: await openSession(tx, user, { ...context, cookie }) };
        }),
    );
    setCookies(context, cookies);
    return toFreshMe(user, grantsOf({ ...user, rules: [] }));
  });
}

function mountRecovery(app: App, services: OpenSessionServices): void {
  const { db, passwords, cookie, settings } = services;
  route(app, recover, async ({ body }, context) => {
    const link = { purpose: "recovery", secret: body.token } as const;
    if (!await findSetupLink(db, link)) deadLink();
    await checkNewPassword(settings, body.password);
    const passwordHash = await passwords.hash(body.password);
    const { user, cookies } = await inTransaction(db, async (tx) => {
      await lockAdministrators(tx);
      const used = await useSetupLink(tx, link);
      if (!used?.userId) return deadLink();
      await setPassword(tx, used.userId, { passwordHash, mustChangePassword: false });
      // Whoever commands the server may have come because the authenticator is lost as well.
      await deleteFactor(tx, used.userId);
      const user = await stillAdministrator(tx, used.userId);
      await deleteSessionsOf(tx, user.id);
      await revokeApiTokensOf(tx, user.id);
      await unlockUser(tx, user.id);
      const target = { kind: "user", id: user.id };
      const actor = actorOf({ ...context, caller: callerOf(user, "") });
      await writeAudit(tx, { actor, action: "user.recover", target });
      return { user, cookies: await openSession(tx, user, { ...context, cookie }) };
    });
    setCookies(context, cookies);
    return toFreshMe(user, grantsOf({ ...user, rules: [] }));
  });
}

/** Since the link was made, somebody may have decided otherwise about its user. */
async function stillAdministrator(tx: Transaction<Database>, id: UserId): Promise<ShownUser> {
  const user = await findUser(tx, id);
  if (user?.administrator && user.disabledAt === null) return user;
  throw new ProblemError(
    "setup-link-invalid",
    "The user of this link was disabled or is no administrator any more.",
  );
}

function alreadySetUp(): never {
  throw new ProblemError("already-set-up", "This installation has an administrator already.");
}

function deadLink(): never {
  throw new ProblemError("setup-link-invalid", "This link is unknown, used up or over.");
}
