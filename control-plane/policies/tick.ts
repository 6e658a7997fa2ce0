import { type Kysely, sql } from "kysely";
import { nextRuns } from "@rookery/shared/schedules/next_runs.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { inForce } from "../settings/in_force.ts";
import { cancelStopped } from "./cancel_waiting.ts";
import { type ReadClock, readClock } from "./clock.ts";
import { decideDue } from "./decide_due.ts";
import { lockPolicy, setNextAt } from "./store.ts";

interface TickOptions {
  readonly clock?: ReadClock;
}

/**
 * Decides the runs that are due and cancels what waits for policies that are stopped. Every replica does it, every few
 * seconds: a run is decided under its policy's lock, so that twice is as good as once. Its jobs are made by `workShares`,
 * which may take its time.
 */
export async function tickPolicies(
  db: Kysely<Database>,
  { clock = readClock }: TickOptions = {},
): Promise<{ readonly decided: number; readonly cancelled: number }> {
  // What cannot be decided keeps nothing from being cancelled.
  const [decided, cancelled] = await Promise.allSettled([
    clock(db).then((now) => decideDue(db, now)),
    cancelStopped(db),
  ]);
  if (decided.status === "rejected") throw decided.reason;
  if (cancelled.status === "rejected") throw cancelled.reason;
  return { decided: decided.value, cancelled: cancelled.value };
}

/** Computes anew when policies run next: the rules of time zones change with the control plane's version. */
export async function refreshPlans(
  db: Kysely<Database>,
  { clock = readClock }: TickOptions = {},
): Promise<number> {
  const now = await clock(db);
  const rows = await db.selectFrom("policies").select("id")
    .where("nextAt", ">", now).where("deletedAt", "is", null).execute();
  let moved = 0;
  for (const { id } of rows) {
    moved += await inTransaction(db, async (tx) => {
      const policy = await lockPolicy(tx, id);
      if (!policy?.nextAt || Temporal.Instant.compare(policy.nextAt, now) <= 0) return 0;
      const [next] = nextRuns(policy.schedule, { after: now, count: 1 });
      if (next?.at.equals(policy.nextAt)) return 0;
      await setNextAt(tx, id, next?.at ?? null);
      return 1;
    });
  }
  return moved;
}

/** Drops old lines of the ledger, and policies that were deleted before them. */
export async function forgetOldRuns(db: Kysely<Database>): Promise<void> {
  const before = sql`now() - make_interval(days => ${inForce("retention.policy_runs_days")})`;
  await sql`delete from occurrences where decided_at < ${before} and decision is not null`.execute(
    db,
  );
  await sql`
    delete from policies p where deleted_at < ${before}
      and not exists (select 1 from open_jobs o where o.policy_id = p.id)`.execute(db);
}
