import type { Transaction } from "kysely";
import { enterCode } from "@rookery/shared/api/second_factor.ts";
import type { UserId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import type { UserCaller } from "../http/caller.ts";
import { route, type RouteContext } from "../http/route.ts";
import { readGrants } from "../permissions/read_grants.ts";
import { type CodeServices, useCode, type UsedCode, wrongCode } from "../second_factor/use_code.ts";
import { findUser, type ShownUser } from "../users/store.ts";
import { guesserOf, type PasswordServices } from "./check_password.ts";
import { checkGuess } from "./guess.ts";
import { openSession, type OpenSessionServices, setCookies, toFreshMe } from "./open_session.ts";
import { deleteSession } from "./store.ts";

export type CodeLoginServices = OpenSessionServices & PasswordServices & CodeServices;

/** The second step of a login: the session that awaited a code is followed by one that is open, with another secret. */
export function mountCodeLogin(app: App, services: CodeLoginServices): void {
  const { db, cookie } = services;
  route(app, enterCode, async ({ body: { code } }, context) => {
    const id = requireBrowserSession(context.caller);
    const { userId, due } = context.caller;
    if (due !== "second_factor") throw new ProblemError("conflict", "No code is asked for.");
    const used = await checkCode(services, { code, context });
    const { user, cookies } = await inTransaction(db, async (tx) => {
      const user = await stillAwaited(tx, { id, userId });
      if (used === "recovery_code") await auditRecovery(tx, context);
      return { user, cookies: await openSession(tx, user, { ...context, cookie }) };
    });
    setCookies(context, cookies);
    return toFreshMe(user, await readGrants(db, userId));
  });
}

/** A wrong code counts as a wrong password does: whoever knows the password has no more guesses at the code than at that. */
async function checkCode(
  services: CodeLoginServices,
  { code, context }: {
    readonly code: string;
    readonly context: RouteContext & { readonly caller: UserCaller };
  },
): Promise<UsedCode> {
  const { userId, username } = context.caller;
  const guesser = { username, ...guesserOf(services, context) };
  const used = await checkGuess(services, guesser, async () => {
    const found = await useCode(services, { userId, code });
    return found && { found, isLast: true };
  });
  return used ?? wrongCode();
}

/** Ends the session that awaited the code: of two requests with two good codes, one opens another. */
async function stillAwaited(
  tx: Transaction<Database>,
  session: { readonly id: string; readonly userId: UserId },
): Promise<ShownUser> {
  const isThere = await deleteSession(tx, session);
  const user = await findUser(tx, session.userId);
  if (isThere && user?.disabledAt === null) return user;
  throw new ProblemError("session-required", "This login is over; begin it again.");
}

async function auditRecovery(
  tx: Transaction<Database>,
  context: Pick<RouteContext, "address" | "requestId"> & { readonly caller: UserCaller },
): Promise<void> {
  const target = { kind: "user", id: context.caller.userId };
  await writeAudit(tx, { actor: actorOf(context), action: "user.use_recovery_code", target });
}
