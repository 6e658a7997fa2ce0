import type { Kysely, Transaction } from "kysely";
import type { Me } from "@rookery/shared/api/sessions.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import type { Grants, UserCaller } from "../http/caller.ts";
import type { SessionCookie } from "../http/cookie.ts";
import type { RouteContext } from "../http/route.ts";
import type { LiveSettings } from "../settings/live_settings.ts";
import { dueOf } from "../users/due.ts";
import type { Passwords } from "../users/passwords.ts";
import { type ShownUser, toUser, type UserRow } from "../users/store.ts";
import { insertSession, type OpenedSession } from "./store.ts";

/** What everything needs that logs people in. */
export interface OpenSessionServices {
  readonly db: Kysely<Database>;
  readonly passwords: Passwords;
  readonly cookie: SessionCookie;
  readonly settings: LiveSettings;
}

type Origin = Pick<RouteContext, "address" | "requestId" | "request">;

/** Logs a person in: opens a session and writes down from where. Returns what the cookie holds, and for how long. */
export async function openSession(
  tx: Transaction<Database>,
  user: UserRow,
  from: Origin,
): Promise<Pick<OpenedSession, "secret" | "seconds">> {
  const { id, secret, seconds } = await insertSession(tx, {
    userId: user.id,
    userAgent: from.request.headers.get("user-agent") ?? "",
    address: from.address,
  });
  await writeAudit(tx, {
    actor: actorOf({ ...from, caller: callerOf(user, id) }),
    action: "session.create",
    target: { kind: "session", id },
  });
  return { secret, seconds };
}

/** Who a fresh session of `user` will speak for, as an audit row names them: what they may do is not looked up. */
export function callerOf(user: UserRow, sessionId: string): UserCaller {
  return {
    kind: "user",
    userId: user.id,
    username: user.username,
    grants: new Map(),
    via: { kind: "session", sessionId },
  };
}

/** What a person is told about themselves. */
export function toMe(user: ShownUser, grants: Grants, via: Me["via"]): Me {
  const due = dueOf(user) ?? null;
  return { user: toUser(user), permissions: [...grants.keys()], via, due };
}
