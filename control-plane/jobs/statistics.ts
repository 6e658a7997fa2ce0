import { type Kysely, sql } from "kysely";
import { JobState } from "@rookery/shared/api/jobs.ts";
import type { SiteId } from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { refusedField } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

const DEFAULT_HOURS = 24;
const MOST_DAYS = 31;

export interface StatisticsOrder {
  readonly scope: Scope;
  readonly siteId?: SiteId | undefined;
  readonly kind?: readonly JobKind[] | undefined;
  readonly from?: string | undefined;
  readonly until?: string | undefined;
}

/** What waits and runs now, and what ended in a span of time. Throws `validation` when the span is none, or too long. */
export async function readStatistics(db: Kysely<Database>, order: StatisticsOrder) {
  const span = await readSpan(db, order);
  const ended = await countEnded(db, { ...order, ...span });
  const states = new Map<JobState, number>(await countOpen(db, order));
  const failures: Partial<Record<FailureCode, number>> = {};
  for (const { outcome, failureCode, count } of ended) {
    states.set(outcome, (states.get(outcome) ?? 0) + count);
    if (failureCode) failures[failureCode] = (failures[failureCode] ?? 0) + count;
  }
  const of = (state: JobState) => states.get(state) ?? 0;
  const judged = of("completed") + of("failed") + of("dead");
  return {
    from: span.from.toString(),
    until: span.until.toString(),
    states: Object.fromEntries(JobState.options.map((state) => [state, of(state)])) as Record<
      JobState,
      number
    >,
    ended: judged + of("cancelled"),
    successRate: judged === 0 ? null : of("completed") / judged,
    failures,
  };
}

async function readSpan(db: Kysely<Database>, { from, until }: StatisticsOrder) {
  const { rows: [span] } = await sql<
    { from: Temporal.Instant; until: Temporal.Instant; fits: boolean }
  >`
    with upto as (select coalesce(${until ?? null}::timestamptz, clock_timestamp()) as until),
      span as (select coalesce(${from ?? null}::timestamptz,
        until - make_interval(hours => ${DEFAULT_HOURS}::int)) as "from", until from upto)
    select s.*, "from" < until and "from" >= until - make_interval(days => ${MOST_DAYS}::int) as fits
    from span s`.execute(db);
  if (span?.fits) return span;
  const detail = `must be before until, by ${MOST_DAYS} days at most`;
  throw refusedField("?from", detail);
}

function where({ scope, siteId, kind }: StatisticsOrder, table: "done" | "ready" | "leases") {
  return sql`where ${isVisible(`${table}.site_id`, scope)}
    ${siteId ? sql`and site_id = ${siteId}` : sql``}
    ${kind ? sql`and kind = any(${[...kind]}::text[])` : sql``}`;
}

async function countEnded(
  db: Kysely<Database>,
  order: Omit<StatisticsOrder, "from" | "until"> & {
    readonly from: Temporal.Instant;
    readonly until: Temporal.Instant;
  },
) {
  const { from, until, ...which } = order;
  const { rows } = await sql<
    { outcome: JobState; failureCode: FailureCode | null; count: number }
  >`
    select outcome, failure_code, count(*)::int as count from done
    ${
    where(which, "done")
  } and ended_at >= ${from}::timestamptz and ended_at < ${until}::timestamptz
    group by outcome, failure_code`.execute(db);
  return rows;
}

async function countOpen(
  db: Kysely<Database>,
  order: StatisticsOrder,
): Promise<[JobState, number][]> {
  const { rows } = await sql<{ state: JobState; count: number }>`
    select case when due_at > now() then 'scheduled' else 'available' end as state,
      count(*)::int as count
    from ready ${where(order, "ready")} group by 1
    union all
    select 'leased', count(*)::int from leases ${where(order, "leases")}`.execute(db);
  return rows.map(({ state, count }) => [state, count]);
}
