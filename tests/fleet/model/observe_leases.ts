/** What PostgreSQL says of a site's jobs, put beside what the model says; and times that are to stand still. */
import assert from "node:assert/strict";
import { type Kysely, sql } from "kysely";
import type { Database } from "../../../control-plane/database/schema.ts";
import { jobsAt, queueOf, type State } from "./lease_state.ts";
import type { LeaseEngine } from "./lease_engine.ts";

/** Everything that a state claims can be seen, in a form that is compared as a whole. */
type Seen = Record<string, unknown>;

interface Row {
  readonly [column: string]: unknown;
  readonly jobId: string;
}

/** Rows as they are, and of waiting jobs whether they are due, and whether that was said since the last look. */
export interface Look {
  readonly at: string;
  readonly jobs: readonly Row[];
  readonly ready: readonly Row[];
  readonly leases: readonly Row[];
  readonly done: readonly Row[];
  readonly open: readonly Row[];
  readonly grants: readonly Row[];
  readonly attempts: readonly Row[];
  readonly sessions: readonly { readonly [column: string]: unknown }[];
}

/** Looks at everything in one statement, so that it fits together. */
export async function look(
  db: Kysely<Database>,
  engine: LeaseEngine,
  since: string,
): Promise<Look> {
  const { siteId } = engine;
  const all = (table: string, more = sql``) =>
    sql`
    coalesce((select jsonb_agg(to_jsonb(t) ${more}) from ${sql.table(table)} t
      where t.site_id = ${siteId}), '[]')`;
  const { rows: [{ at, ...tables } = assert.fail()] } = await sql<
    Omit<Look, "at"> & { at: string }
  >`
    select n.at::text as at, ${
    all(
      "leases",
      sql`|| jsonb_build_object(
        'offer_over', t.offer_until < n.at, 'deadline_over', t.deadline_at < n.at,
        'old', t.granted_at < n.at - interval '1 minute')`,
    )
  } as leases,
      coalesce((select jsonb_agg(to_jsonb(t) || jsonb_build_object('is_due', t.due_at <= n.at,
        'is_new', t.due_at > ${since}::timestamptz) order by t.rank, t.job_id)
        from ready t where t.site_id = ${siteId}), '[]') as ready,
      ${all("done")} as done, ${all("open_jobs")} as open, ${all("grants")} as grants,
      ${all("attempts")} as attempts,
      coalesce((select jsonb_agg(jsonb_build_object('id', t.id, 'device_id', t.device_id,
        'kind', t.kind)) from jobs t where t.site_id = ${siteId}), '[]') as jobs,
      coalesce((select jsonb_agg(to_jsonb(s) || jsonb_build_object('live', s.expires_at > n.at))
        from agent_sessions s where s.agent_id = any(${[...engine.names.agents.keys()]}::uuid[])),
        '[]') as sessions
    from (select clock_timestamp() as at) n`.execute(db);
  const named = Object.entries(tables).map(([table, rows]) => [table, rows.map(inCamelCase)]);
  return { at, ...Object.fromEntries(named) };
}

/** The columns inside JSON, which Kysely leaves alone. */
function inCamelCase(row: Record<string, unknown>): Record<string, unknown> {
  const entries = Object.entries(row).map((
    [name, value],
  ) => [name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()), value]);
  return Object.fromEntries(entries);
}

/** Throws an AssertionError that shows what differs. */
export function compare(state: State, seen: Look, engine: LeaseEngine): void {
  assert.deepEqual(seenIn(seen, { state, names: engine.names }), expected(state));
}

export function matches(state: State, seen: Look, engine: LeaseEngine): boolean {
  try {
    compare(state, seen, engine);
    return true;
  } catch (error) {
    if (error instanceof assert.AssertionError) return false;
    throw error;
  }
}

function sorted(lines: readonly unknown[]): string[] {
  return lines.map((line) => JSON.stringify(line)).sort();
}

function expected(state: State): Seen {
  const open = state.jobs.filter(({ place }) => place.at !== "done");
  return {
    places: Object.fromEntries(state.jobs.map(({ id, place }) => {
      const { rank: _, ...rest } = "rank" in place ? place : { ...place, rank: undefined };
      return [id, [rest]];
    })),
    jobs: sorted(state.jobs.map(({ id, device, kind }) => [id, device, kind])),
    queue: queueOf(state).map(({ id }) => id),
    open: sorted(open.map(({ id, device, kind }) => [device, kind, id])),
    grants: sorted(state.grants.map(({ job, epoch, agent, boot }) => [job, epoch, agent, boot])),
    attempts: sorted(
      state.attempts.map((
        { job, epoch, agent, outcome, failure, answer, envelope },
      ) => [job, epoch, agent, outcome, failure, answer, envelope]),
    ),
    sessions: sorted(
      Object.entries(state.agents).filter(([, { session }]) => session !== "none")
        .map(([name, { boot, capacity, session }]) => [name, boot, capacity, session === "live"]),
    ),
  };
}

type Names = LeaseEngine["names"];

function seenIn(seen: Look, { state, names }: { state: State; names: Names }): Seen {
  const agent = (id: unknown) => names.agents.get(String(id)) ?? id;
  const boot = (id: unknown) => names.boots.get(String(id)) ?? id;
  const waits = new Set(
    jobsAt(state, "ready").filter(({ place }) => !place.due).map(({ id }) => id),
  );
  /** A delay may have been so short that it is over by now: it counts as one because it is new. */
  const isDue = (row: Row) => waits.has(row.jobId) ? !(row.isNew || !row.isDue) : row.isDue;
  const place: Record<string, unknown[]> = {};
  const put = (row: Row, value: unknown) => (place[row.jobId] ??= []).push(value);
  for (const row of seen.ready) {
    put(row, {
      ...{ at: "ready", epoch: row.epoch, fails: row.fails, losses: row.sessionLosses },
      ...{ lastFailure: row.lastFailure, lateFails: row.lateFails, due: isDue(row) },
      lateAgent: row.lateAgentId === null ? null : agent(row.lateAgentId),
      offset: row.offsetSeconds,
    });
  }
  for (const row of seen.leases) {
    put(row, {
      ...{ at: "leases", epoch: row.epoch, fails: row.fails, losses: row.sessionLosses },
      ...{ lastFailure: row.lastFailure, running: row.running, cancel: row.cancelRequested },
      ...{ offerOver: row.offerOver, deadlineOver: row.deadlineOver, old: row.old },
      ...{ agent: agent(row.agentId), boot: boot(row.bootId), offset: row.offsetSeconds },
      claim: names.claims.get(String(row.claimId)),
    });
  }
  for (const row of seen.done) {
    put(row, {
      ...{ at: "done", outcome: row.outcome, epoch: row.epoch, late: row.late },
      agent: row.agentId === null ? null : agent(row.agentId),
      ...{ failure: row.failureCode, closed: row.closedAt !== null },
    });
  }
  const device = (row: Row) => names.devices.get(String(row.deviceId));
  return {
    places: place,
    jobs: sorted(seen.jobs.map((row) => [row.id, device(row), row.kind])),
    queue: seen.ready.filter(({ jobId }) => !waits.has(jobId)).map(({ jobId }) => jobId),
    open: sorted(seen.open.map((row) => [device(row), row.kind, row.jobId])),
    grants: sorted(
      seen.grants.map((row) => [row.jobId, row.epoch, agent(row.agentId), boot(row.bootId)]),
    ),
    attempts: sorted(seen.attempts.map((row) => [
      ...[row.jobId, row.epoch, agent(row.agentId), row.outcome, row.failureCode],
      ...[row.answer, row.envelopeSha256],
    ])),
    sessions: sorted(
      seen.sessions.map((row) => [agent(row.agentId), boot(row.bootId), row.capacity, row.live]),
    ),
  };
}

const LONGEST_DELAY_SECONDS = 1_800;

/**
 * Lets no time pass but what an operation says: whatever is to happen later is put off for days. Before that, how much later
 * it was to be is checked.
 */
export async function holdTime(
  db: Kysely<Database>,
  engine: LeaseEngine,
  { state, since }: { state: State; since: string },
): Promise<void> {
  const { siteId, names } = engine;
  const waiting = jobsAt(state, "ready").filter(({ place }) => !place.due).map(({ id }) => id);
  const { rows: [found] } = await sql<{ delays: number[]; offers: number[] }>`
    with t as (select clock_timestamp() as now, interval '10 days' as days), delayed as (
      update ready r set due_at = due_at + days, rank = rank + days from t
      where site_id = ${siteId} and job_id = any(${waiting}::uuid[]) and due_at < now + interval '1 day'
      returning extract(epoch from due_at - days - ${since}::timestamptz)::float as seconds
    ), offered as (
      update leases set offer_until = offer_until + days, deadline_at = deadline_at + days,
        granted_at = granted_at + days from t
      where site_id = ${siteId} and granted_at > ${since}::timestamptz
        and granted_at < now + interval '1 day'
      returning extract(epoch from offer_until - granted_at)::float as seconds
    ), living as (
      update agent_sessions set expires_at = expires_at + days from t
      where agent_id = any(${[...names.agents.keys()]}::uuid[]) and expires_at > now
        and expires_at < now + interval '1 day'
    )
    select coalesce((select jsonb_agg(seconds) from delayed), '[]') as delays,
      coalesce((select jsonb_agg(seconds) from offered), '[]') as offers`.execute(db);
  const { delays = [], offers = [] } = found ?? {};
  // A minute for how long the step itself may have taken.
  assert.ok(delays.every((seconds) => seconds <= LONGEST_DELAY_SECONDS + 60), delays.join());
  assert.ok(offers.every((seconds) => Math.abs(seconds - 30) < 1), offers.join());
}
