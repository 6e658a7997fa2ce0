import { setTimeout as delay } from "node:timers/promises";
import type { Sql } from "./connect.ts";

/** cannot_connect_now: it starts, recovers from a crash, or stops. */
const CANNOT_CONNECT_NOW = "57P03";
const PAUSE_MS = 250;
/** A long recovery is not waited for: whoever keeps us alive starts us again. */
const PATIENCE_MS = 60_000;

/** Waits while a PostgreSQL that is there says that it is still starting; any other error is thrown at once. */
export async function untilStarted(
  sql: Sql,
  { patienceMs = PATIENCE_MS, signal }: {
    readonly patienceMs?: number;
    readonly signal?: AbortSignal;
  } = {},
): Promise<void> {
  const giveUpAt = performance.now() + patienceMs;
  for (;;) {
    try {
      await sql`select 1`;
      return;
    } catch (error) {
      if (!isStarting(error) || performance.now() > giveUpAt) throw error;
    }
    await delay(PAUSE_MS, undefined, { signal });
  }
}

function isStarting(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === CANNOT_CONNECT_NOW;
}
