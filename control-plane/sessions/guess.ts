import type { Kysely } from "kysely";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { LiveSettings } from "../settings/live_settings.ts";
import { findUserByName } from "../users/store.ts";
import { findKnownBrowser } from "./browser_store.ts";
import * as failures from "./failure_store.ts";
import type { LoginThrottle } from "./login_throttle.ts";

export interface GuessServices {
  readonly db: Kysely<Database>;
  readonly throttle: LoginThrottle;
  readonly settings: LiveSettings;
}

/** Who says to be whom, and from where. */
export interface Guesser {
  readonly username: string;
  readonly address: string;
  readonly requestId: string;
  /** What the browser kept of an earlier login. */
  readonly browser: string | undefined;
}

/** What a check found: that it was right, and whether it was the last that is asked of this person. */
export interface RightGuess<Found> {
  readonly found: Found;
  readonly isLast: boolean;
}

/**
 * Checks a guess at what only one person knows. It counts as failed before it is checked, and too many are refused: waits
 * that grow, in the memory of this replica, and a lock that all replicas go by. Returns undefined for a wrong one.
 *
 * A stranger cannot keep anybody out for ever, not even the last administrator: a lock ends by itself, and what is tried
 * meanwhile does not make it longer; browsers in which the person has logged in before have counters of their own (OWASP's
 * device cookies; a network in their place would tell its other users who has an account); sessions that are open go on; and
 * a link of `admin:recover`, which only the server's console prints, unlocks.
 */
export async function checkGuess<Found>(
  services: GuessServices,
  guesser: Guesser,
  check: () => Promise<RightGuess<Found> | undefined>,
): Promise<Found | undefined> {
  const { throttle, settings } = services;
  const { username, address } = guesser;
  throttle.begin(username, address, await settings.read());
  try {
    const counter = await counterOf(services.db, guesser);
    const right = await checkCounted(services, { guesser, counter, check });
    if (right?.isLast) throttle.succeed(username, address);
    else if (right) throttle.giveBack(username, address);
    return right?.found;
  } catch (error) {
    throttle.giveBack(username, address);
    throw error;
  }
}

/** A browser that is another person's says nothing about this one. */
async function counterOf(
  db: Kysely<Database>,
  { username, browser }: Guesser,
): Promise<failures.Counter> {
  const known = browser && await findKnownBrowser(db, { secret: browser, username });
  return known ? failures.browserCounter(known) : failures.accountCounter(username);
}

async function checkCounted<Found>(
  { db }: GuessServices,
  { guesser, counter, check }: {
    readonly guesser: Guesser;
    readonly counter: failures.Counter;
    readonly check: () => Promise<RightGuess<Found> | undefined>;
  },
): Promise<RightGuess<Found> | undefined> {
  const counted = await failures.countAttempt(db, counter);
  if ("lockedSeconds" in counted) return refuseLocked(counted.lockedSeconds);
  const right = await check().catch(async (error: unknown) => {
    await failures.giveBackAttempt(db, counter);
    throw error;
  });
  if (right?.isLast) await failures.forgetFailures(db, counter);
  else if (right) await failures.giveBackAttempt(db, counter);
  else if (counted.locks) await noteLock(db, guesser);
  return right;
}

function refuseLocked(retryAfterSeconds: number): never {
  const detail = "There were too many failed attempts in a row; nobody is let in by this name.";
  throw new ProblemError("login-locked", detail, { retryAfterSeconds });
}

/** In the audit log when there is such a user: names that nobody has would let strangers fill it. */
async function noteLock(db: Kysely<Database>, guesser: Guesser): Promise<void> {
  await inTransaction(db, async (tx) => {
    const user = await findUserByName(tx, guesser.username);
    if (!user) return;
    const actor = actorOf({ ...guesser, caller: { kind: "anonymous" } });
    await writeAudit(tx, { actor, action: "user.lock_out", target: { kind: "user", id: user.id } });
  });
}
