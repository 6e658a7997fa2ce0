import { resetSecondFactor } from "@rookery/shared/api/second_factor.ts";
import { demandPasswordChange, resetPassword, unlockUser } from "@rookery/shared/api/users.ts";
import type { UserId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import type { UserCaller } from "../http/caller.ts";
import { route } from "../http/route.ts";
import { deleteFactor } from "../second_factor/store.ts";
import * as failures from "../sessions/failure_store.ts";
import { deleteSessionsOf } from "../sessions/store.ts";
import { readManaged } from "./change_user.ts";
import { checkNewPassword } from "./password_policy.ts";
import type { UserServices } from "./routes.ts";
import { demandNewPassword, setPassword } from "./store.ts";

/** What an administrator does with the passwords of others, and with wrong ones. */
export function mountPasswords(app: App, { db, passwords, settings }: UserServices): void {
  route(app, resetPassword, async ({ params: { userId }, body }, context) => {
    requireBrowserSession(context.caller);
    refuseOwn(context.caller, userId);
    await checkNewPassword(settings, body.password);
    const { mustChangePassword } = body;
    const passwordHash = await passwords.hash(body.password);
    await inTransaction(db, async (tx) => {
      await readManaged(tx, userId, context.caller);
      await setPassword(tx, userId, { passwordHash, mustChangePassword });
      // Whoever was in by the old password is out; their API tokens are suspended, or go on if nothing is demanded.
      await deleteSessionsOf(tx, userId);
      await failures.unlockUser(tx, userId);
      const target = { kind: "user", id: userId };
      const entry = { actor: actorOf(context), action: "user.reset_password", target };
      await writeAudit(tx, { ...entry, detail: { mustChangePassword } });
    });
  });

  route(app, resetSecondFactor, async ({ params: { userId } }, context) => {
    requireBrowserSession(context.caller);
    refuseOwn(context.caller, userId);
    await inTransaction(db, async (tx) => {
      await readManaged(tx, userId, context.caller);
      if (!await deleteFactor(tx, userId)) hasNone();
      await deleteSessionsOf(tx, userId);
      const target = { kind: "user", id: userId };
      await writeAudit(tx, { actor: actorOf(context), action: "user.reset_second_factor", target });
    });
  });

  route(app, demandPasswordChange, async ({ params: { userId } }, context) => {
    requireBrowserSession(context.caller);
    await inTransaction(db, async (tx) => {
      const { passwordHash } = await readManaged(tx, userId, context.caller);
      if (passwordHash === null) hasNoPassword();
      await demandNewPassword(tx, userId);
      const target = { kind: "user", id: userId };
      await writeAudit(tx, { actor: actorOf(context), action: "user.demand_password", target });
    });
  });

  route(app, unlockUser, async ({ params: { userId } }, context) => {
    requireBrowserSession(context.caller);
    await inTransaction(db, async (tx) => {
      await readManaged(tx, userId, context.caller);
      await failures.unlockUser(tx, userId);
      const target = { kind: "user", id: userId };
      await writeAudit(tx, { actor: actorOf(context), action: "user.unlock", target });
    });
  });
}

/** One's own is changed by whoever knows the password: a session that was left open must not become an account. */
function refuseOwn(caller: UserCaller, userId: UserId): void {
  if (caller.userId !== userId) return;
  const detail =
    "This is for others. Your own: POST /api/v1/me/password or me/second-factor/removal.";
  throw new ProblemError("forbidden", detail);
}

function hasNoPassword(): never {
  throw new ProblemError(
    "conflict",
    "This user has no password: they sign in at the OpenID provider.",
  );
}

function hasNone(): never {
  throw new ProblemError("not-found", "This user has no second factor.");
}
