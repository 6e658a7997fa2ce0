import { type Kysely, sql, type Transaction } from "kysely";
import { refusedField } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";

/** A deadline of the monotonic clock, in milliseconds. */
export interface Deadline {
  readonly until: number;
}

/** Less is no time for a statement. */
const LEAST_MS = 50;

export function deadlineIn(ms: number): Deadline {
  return { until: performance.now() + ms };
}

export function isOver({ until }: Deadline): boolean {
  return performance.now() > until - LEAST_MS;
}

/**
 * The answer of a statement of a search, or undefined when it had not come by the deadline. An expression that PostgreSQL
 * cannot read is a refused `?pattern`.
 */
export async function inTime<T>(
  db: Kysely<Database>,
  { until }: Deadline,
  run: (tx: Transaction<Database>) => Promise<T>,
): Promise<T | undefined> {
  const left = Math.ceil(until - performance.now());
  if (left < LEAST_MS) return undefined;
  try {
    return await inTransaction(db, async (tx) => {
      // A plan for this very text or expression: what is rare is looked up, what is everywhere is met on the way.
      await sql`select set_config('statement_timeout', ${String(left)}, true),
        set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true)`
        .execute(tx);
      return await run(tx);
    });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === TIMED_OUT) return undefined;
    if (code === NO_EXPRESSION) throw refuseExpression(error);
    throw error;
  }
}

const TIMED_OUT = "57014";
const NO_EXPRESSION = "2201B";

function refuseExpression(error: unknown) {
  const said = error instanceof Error ? error.message.replace(/^[^:]*: /, "") : "";
  return refusedField("?pattern", `is no regular expression: ${said}`, error);
}
