import type { Kysely, Transaction } from "kysely";
import type { Due } from "@rookery/shared/api/access.ts";
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
import { knowBrowser, KNOWN_BROWSER_DAYS } from "./browser_store.ts";
import { insertSession } from "./store.ts";

/** What everything needs that logs people in. */
export interface OpenSessionServices {
  readonly db: Kysely<Database>;
  readonly passwords: Passwords;
  readonly cookie: SessionCookie;
  readonly settings: LiveSettings;
}

/** Where a login comes from, and how it sets its cookies. */
export interface Origin extends Pick<RouteContext, "address" | "requestId" | "request"> {
  readonly cookie: SessionCookie;
}

const DAY_SECONDS = 86_400;

/** Logs a person in: opens a session and writes down from where. Returns the `Set-Cookie` headers of the reply. */
export async function openSession(
  tx: Transaction<Database>,
  user: UserRow,
  from: Origin,
): Promise<readonly string[]> {
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
  const known = { userId: user.id, secret: from.cookie.readBrowser(from.request) };
  const browser = await knowBrowser(tx, known);
  return [
    from.cookie.set(secret, seconds),
    from.cookie.setBrowser(browser, KNOWN_BROWSER_DAYS * DAY_SECONDS),
  ];
}

/** Lets the reply set cookies. */
export function setCookies(
  context: Pick<RouteContext, "setHeader">,
  cookies: readonly string[],
): void {
  for (const cookie of cookies) context.setHeader("set-cookie", cookie);
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

/** Lets a person enter the code that their login asks for next. Returns the `Set-Cookie` headers of the reply. */
export async function awaitCode(
  tx: Transaction<Database>,
  user: UserRow,
  { request, address, cookie }: Origin,
): Promise<readonly string[]> {
  const userAgent = request.headers.get("user-agent") ?? "";
  const session = { userId: user.id, userAgent, address, awaitsCode: true };
  const { secret, seconds } = await insertSession(tx, session);
  return [cookie.set(secret, seconds)];
}

/** What a person is told about themselves who has just logged in. */
export function toFreshMe(user: ShownUser, grants: Grants): Me {
  return toMe(user, { grants, via: "session", due: dueOf({ ...user, awaitsCode: false }) });
}

/** What a person is told about themselves. */
export function toMe(
  user: ShownUser,
  { grants, via, due }: Pick<Me, "via"> & {
    readonly grants: Grants;
    readonly due: Due | undefined;
  },
): Me {
  return { user: toUser(user), permissions: [...grants.keys()], via, due: due ?? null };
}
