/** Two transactions in the same moment, in an order that a test chooses. */
import type { Transaction } from "kysely";
import type { Database } from "../../control-plane/database/schema.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { until } from "./agent_bench.ts";
import type { TestDatabase } from "./database.ts";

export interface SameMoment<Result> {
  /** Is not committed before `second` waits for it. */
  readonly first: (tx: Transaction<Database>) => Promise<unknown>;
  readonly second: () => Promise<Result>;
  /** Done while the second one waits. */
  readonly meanwhile?: () => Promise<unknown>;
}

/** Gives what the second one gave; fails when it does not wait at all. */
export async function inTheSameMoment<Result>(
  { db, sql }: TestDatabase,
  { first, second, meanwhile }: SameMoment<Result>,
): Promise<Result> {
  const held = Promise.withResolvers<void>();
  const waited = Promise.withResolvers<void>();
  const holding = inTransaction(db, async (tx) => {
    await first(tx);
    held.resolve();
    await waited.promise;
  });
  await Promise.race([held.promise, holding]);
  const waiting = second();
  try {
    await until(
      async () => {
        const rows = await sql`select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`;
        return rows.length > 0;
      },
      "the second one waits for the first",
      10_000,
    );
    await meanwhile?.();
  } finally {
    waited.resolve();
    await Promise.allSettled([holding, waiting]);
  }
  return await waiting;
}
