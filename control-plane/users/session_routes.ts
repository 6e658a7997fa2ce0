import { listUserSessions, revokeUserSessions } from "@rookery/shared/api/sessions.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import { route } from "../http/route.ts";
import { sessionOf } from "../sessions/session_view.ts";
import { deleteSessionsOf, selectSessions } from "../sessions/store.ts";
import { readManaged } from "./change_user.ts";
import type { UserServices } from "./routes.ts";
import { findUser } from "./store.ts";

/** Where others are logged in, as an administrator sees and ends it. */
export function mountUserSessions(app: App, { db }: UserServices): void {
  route(app, listUserSessions, async ({ params: { userId } }, { caller }) => {
    if (!await findUser(db, userId)) throw new ProblemError("not-found", "There is no such user.");
    const rows = await selectSessions(db, userId);
    return { items: rows.map((row) => sessionOf(row, caller)) };
  });

  route(app, revokeUserSessions, async ({ params: { userId } }, context) => {
    requireBrowserSession(context.caller);
    await inTransaction(db, async (tx) => {
      await readManaged(tx, userId, context.caller);
      await deleteSessionsOf(tx, userId);
      const target = { kind: "user", id: userId };
      await writeAudit(tx, { actor: actorOf(context), action: "user.revoke_sessions", target });
    });
  });
}
