import { setTimeout as delay } from "node:timers/promises";
import type { IsolationLevel, Kysely, Transaction } from "kysely";
import type { Database } from "./schema.ts";

/** How long to go on. */
export interface RetryOptions {
  /** Attempts in all. Default 10. */
  readonly attempts?: number;
  readonly signal?: AbortSignal;
}

const ATTEMPTS = 10;
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 500;

/**
 * Runs `run` again while it fails only because of what ran beside it: serialization failure, deadlock, or a plan that a
 * migration of another replica made stale. `run` must hold its whole transaction.
 */
export async function withRetry<T>(
  run: () => Promise<T>,
  options: RetryOptions = {},
): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      options.signal?.throwIfAborted();
      return await run();
    } catch (error) {
      if (attempt >= (options.attempts ?? ATTEMPTS) || !isPassing(error)) throw error;
      const longest = Math.min(FIRST_PAUSE_MS * 2 ** attempt, LONGEST_PAUSE_MS);
      await delay(Math.random() * longest, undefined, { signal: options.signal });
    }
  }
}

/** Runs `run` in one transaction, and again as `withRetry` does: `run` must do nothing but database work. */
export async function inTransaction<T>(
  db: Kysely<Database>,
  run: (tx: Transaction<Database>) => Promise<T>,
  options: RetryOptions & { readonly isolation?: IsolationLevel } = {},
): Promise<T> {
  const { isolation } = options;
  return await withRetry(() => {
    const transaction = db.transaction();
    return (isolation ? transaction.setIsolationLevel(isolation) : transaction).execute(run);
  }, options);
}

const SERIALIZATION_FAILURE = "40001";
const DEADLOCK = "40P01";
const FEATURE_NOT_SUPPORTED = "0A000";

function isPassing(error: unknown): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  if (error.code === SERIALIZATION_FAILURE || error.code === DEADLOCK) return true;
  // "cached plan must not change result type": each failure drops one stale statement of one connection. The same
  // code also stands for what PostgreSQL truly cannot do, and that does not pass.
  return error.code === FEATURE_NOT_SUPPORTED && "routine" in error &&
    error.routine === "RevalidateCachedQuery";
}
