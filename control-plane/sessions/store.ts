import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { UserId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { Database, SessionsTable } from "../database/schema.ts";
import type { UserCaller } from "../http/caller.ts";
import { digestSecret, newSecret } from "../http/secret_token.ts";
import { grantsOf } from "../permissions/grants.ts";
import { dueOf, type Duties } from "../users/due.ts";
import { type GrantedRule, rulesOf } from "../permissions/rules.ts";
import { mustEnrol } from "../second_factor/store.ts";
import { inForce } from "../settings/in_force.ts";

/** Not every request writes: the time of last use is this coarse. */
const TOUCH_SECONDS = 60;
/** How long there is to enter a code. */
const AWAIT_MINUTES = 10;

export interface NewSession {
  readonly userId: UserId;
  readonly userAgent: string;
  readonly address: string;
  /** Good for nothing but to enter a code, and not for long. */
  readonly awaitsCode?: boolean;
}

/** A session that was just opened. */
export interface OpenedSession {
  readonly id: string;
  readonly secret: string;
  readonly seconds: number;
}

/** Opens a session; the secret goes into the cookie and is kept nowhere. */
export async function insertSession(
  tx: Transaction<Database>,
  { awaitsCode = false, ...session }: NewSession,
): Promise<OpenedSession> {
  const secret = newSecret("rks");
  const id = newId<string>();
  const { seconds } = await tx.insertInto("sessions").values({
    id,
    userId: session.userId,
    secretSha256: digestSecret(secret),
    userAgent: session.userAgent.slice(0, 300),
    address: session.address,
    awaitsCode,
    expiresAt: awaitsCode
      ? sql`now() + make_interval(mins => ${AWAIT_MINUTES}::int)`
      : sql`now() + make_interval(hours => ${inForce("security.session_hours")})`,
  }).returning(sql<number>`extract(epoch from expires_at - created_at)::int`.as("seconds"))
    .executeTakeFirstOrThrow();
  return { id, secret, seconds };
}

/** A time that was made shorter since ends those that were opened before, too. */
const isLive = sql<boolean>`sessions.expires_at > now()
  and sessions.created_at > now() - make_interval(hours => ${inForce("security.session_hours")})
  and sessions.last_used_at > now() - make_interval(mins => ${
  inForce("security.session_idle_minutes")
})`;

/** The person of a session that is not over, unless they were disabled. */
export async function findSessionCaller(
  db: Kysely<Database>,
  secret: string,
): Promise<UserCaller | undefined> {
  const row = await selectLive(db)
    .where("sessions.secretSha256", "=", digestSecret(secret)).executeTakeFirst();
  if (row?.stale) await touchSession(db, row.id);
  return row && callerOf(row);
}

/** The same person as they are now; looking is no use of the session. */
export async function findSessionAgain(
  db: Kysely<Database>,
  sessionId: string,
): Promise<UserCaller | undefined> {
  const row = await selectLive(db).where("sessions.id", "=", sessionId).executeTakeFirst();
  return row && callerOf(row);
}

function selectLive(db: Kysely<Database>) {
  return db.selectFrom("sessions").innerJoin("users", "users.id", "sessions.userId")
    .select(["sessions.id", "users.id as userId", "users.username", "users.administrator"])
    .select(["users.mustChangePassword", "sessions.awaitsCode", mustEnrol.as("mustEnrol")])
    .select(rulesOf.as("rules"))
    .select(sql<boolean>`sessions.last_used_at < now() - make_interval(secs => ${TOUCH_SECONDS})`
      .as("stale"))
    .where(isLive).where("users.disabledAt", "is", null);
}

interface LiveRow extends Duties {
  readonly id: string;
  readonly userId: UserId;
  readonly username: string;
  readonly administrator: boolean;
  readonly rules: readonly GrantedRule[];
}

function callerOf(row: LiveRow): UserCaller {
  const { userId, username } = row;
  const via = { kind: "session", sessionId: row.id } as const;
  const grants = row.awaitsCode ? new Map() : grantsOf(row);
  return { kind: "user", userId, username, grants, due: dueOf(row), via };
}

async function touchSession(db: Kysely<Database>, id: string): Promise<void> {
  await db.updateTable("sessions").set({ lastUsedAt: sql`now()` }).where("id", "=", id).execute();
}

/** A person's sessions that are not over, newest first. */
export function selectSessions(
  db: Kysely<Database>,
  userId: UserId,
): Promise<Selectable<SessionsTable>[]> {
  return db.selectFrom("sessions").selectAll().where("userId", "=", userId).where(isLive)
    .where("awaitsCode", "=", false)
    .orderBy("createdAt", "desc").limit(500).execute();
}

/** Ends one of a person's sessions; false when they have no such session. */
export async function deleteSession(
  tx: Transaction<Database>,
  session: { readonly id: string; readonly userId: UserId },
): Promise<boolean> {
  const { numDeletedRows } = await tx.deleteFrom("sessions").where("id", "=", session.id)
    .where("userId", "=", session.userId).executeTakeFirst();
  return numDeletedRows > 0n;
}

/** Ends a person's sessions, all or all but one; also clears away those that are over. */
export async function deleteSessionsOf(
  tx: Transaction<Database>,
  userId: UserId,
  options: { readonly except?: string } = {},
): Promise<void> {
  await tx.deleteFrom("sessions").where("userId", "=", userId)
    .$if(options.except !== undefined, (query) => query.where("id", "!=", options.except ?? ""))
    .execute();
}

/** Removes what is over, of everybody. */
export async function deleteExpiredSessions(db: Kysely<Database>): Promise<void> {
  await db.deleteFrom("sessions").where(({ not }) => not(isLive)).execute();
}
