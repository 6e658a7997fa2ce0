import { type Kysely, sql, type Transaction } from "kysely";
import type { UserId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { digestSecret } from "../http/secret_token.ts";
import { inForce } from "../settings/in_force.ts";
import { canonicalUsername } from "../users/username.ts";

/** By what failures are counted: a name that was tried, or a browser that its person has logged in with before. */
export type Counter = `account ${string}` | `browser ${string}`;

export function accountCounter(username: string): Counter {
  return `account ${digestSecret(canonicalUsername(username))}`;
}

export function browserCounter(secretSha256: string): Counter {
  return `browser ${secretSha256}`;
}

/** An attempt that may be made and is counted as failed until it is forgiven, or how long there may be none. */
export type Counted =
  /** `locks`: no other may follow it for now. */
  | { readonly locks: boolean }
  | { readonly lockedSeconds: number };

const failuresToLock = inForce("security.lockout_failures");
const lockTime = sql`make_interval(mins => ${inForce("security.lockout_minutes")})`;

/**
 * Counts an attempt before it is checked, so that many at once, at whichever replica, cannot slip through. What comes while
 * it is locked is not counted: the lock ends by itself, however many go on trying.
 */
export async function countAttempt(db: Kysely<Database>, counter: Counter): Promise<Counted> {
  const { rows: [row] } = await sql<{ locks: boolean | null; lockedSeconds: number | null }>`
    with counted as (
      insert into login_failures as f (counter, failures) values (${counter}, 1)
      on conflict (counter) do update set last_failed_at = now(),
        failures = case when f.last_failed_at > now() - ${lockTime} then f.failures + 1 else 1 end
      where f.last_failed_at <= now() - ${lockTime} or f.failures < ${failuresToLock}
      returning failures >= ${failuresToLock} as locks
    )
    select locks, null::float8 as locked_seconds from counted
    union all
    select null, extract(epoch from last_failed_at + ${lockTime} - now())::float8
    from login_failures where counter = ${counter} and not exists (select from counted)`
    .execute(db);
  if (row?.locks !== null && row?.locks !== undefined) return { locks: row.locks };
  // Another attempt may have made the row after this statement began, and cannot be seen by it.
  return { lockedSeconds: Math.max(1, Math.ceil(row?.lockedSeconds ?? 1)) };
}

/** Takes an attempt back that was not checked, or that was right so far. */
export async function giveBackAttempt(db: Kysely<Database>, counter: Counter): Promise<void> {
  await sql`update login_failures set failures = greatest(failures - 1, 0)
    where counter = ${counter}`.execute(db);
}

/** Forgets what failed before: its person has succeeded. */
export async function forgetFailures(db: Kysely<Database>, counter: Counter): Promise<void> {
  await db.deleteFrom("loginFailures").where("counter", "=", counter).execute();
}

const counterOfUser = sql<string>`'account ' ||
  encode(sha256(convert_to(lower(users.username collate "C"), 'UTF8')), 'hex')`;

/** Until when nobody can log in as the user of the row `users`, but from browsers that they have used before. */
export const lockedUntilOf = sql<Temporal.Instant | null>`(
  select f.last_failed_at + ${lockTime} from login_failures f
  where f.counter = ${counterOfUser} and f.failures >= ${failuresToLock}
    and f.last_failed_at > now() - ${lockTime})`;

/** Lets a user log in again at once, from wherever. */
export async function unlockUser(tx: Transaction<Database>, userId: UserId): Promise<void> {
  await sql`
    delete from login_failures where counter in (
      select ${counterOfUser} from users where id = ${userId}
      union all
      select 'browser ' || secret_sha256 from known_browsers where user_id = ${userId})`
    .execute(tx);
}

/** Removes what counts no more. */
export async function deleteOldFailures(db: Kysely<Database>): Promise<void> {
  await sql`delete from login_failures where last_failed_at <= now() - ${lockTime}`.execute(db);
}
