import { type Kysely, type RawBuilder, sql } from "kysely";
import type { DeviceId, JobId, LeaseId } from "@rookery/shared/ids.ts";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { announceJobs } from "../outbox/announce.ts";
import type { Attempt, Envelope, SettledJob, Verdict } from "./accept.ts";

/** How an attempt ended that is not tried again. */
export interface Ending {
  readonly attempt: Attempt;
  readonly verdict: Exclude<Verdict, { readonly status: "failed" }>;
  readonly envelope: Envelope;
}

interface Ended {
  readonly leaseId: LeaseId;
  readonly jobId: JobId;
  readonly deviceId: DeviceId;
  readonly kind: JobKind;
  readonly outcome: "completed" | "cancelled";
}

/**
 * Takes the leases that still carry their attempt's epoch, agent and id, and moves their jobs to done with all that is kept of
 * them, in one statement for any number of attempts. Returns what was settled by lease; of the others nothing changed.
 */
export async function acceptEnded(
  db: Kysely<Database>,
  endings: readonly Ending[],
): Promise<ReadonlyMap<LeaseId, SettledJob>> {
  // Nothing in it reads what another part of it writes. A later success of the same device and kind closes what had died.
  // An attempt's end is read from the clock before its job's.
  const { rows } = await sql<Ended>`
    with given as (${givenOf(endings)}), taken as (
      delete from leases l using given g
      where l.site_id = g.site_id and l.job_id = g.job_id and l.id = g.lease_id
        and l.epoch = g.epoch and l.agent_id = g.agent_id
      returning l.id as lease_id, l.site_id, l.job_id, l.device_id, l.kind, l.epoch, l.agent_id,
        l.granted_at, l.started_at, clock_timestamp() as ended_at, g.attempt_id,
        g.envelope_sha256, g.duration_ms,
        case when l.cancel_requested then 'cancelled' else g.outcome end as outcome,
        case when not l.cancel_requested then g.report end as report
    ), recorded as (
      insert into attempts (id, site_id, job_id, device_id, lease_id, epoch, agent_id, outcome,
        answer, envelope_sha256, duration_ms, granted_at, started_at,
        ended_at)
      select attempt_id, site_id, job_id, device_id, lease_id, epoch, agent_id, outcome, 'accepted',
        envelope_sha256, duration_ms, granted_at, started_at, ended_at from taken
    ), closed as (
      delete from open_jobs o using taken t where o.site_id = t.site_id and o.job_id = t.job_id
    ), repaired as (
      update done d set closed_at = clock_timestamp() from taken t
      where t.outcome = 'completed' and d.site_id = t.site_id and d.device_id = t.device_id
        and d.kind = t.kind and d.outcome = 'dead' and d.closed_at is null
    ), ended as (
      insert into done (site_id, job_id, device_id, kind, epoch, agent_id, outcome, report,
        started_at)
      select site_id, job_id, device_id, kind, epoch, agent_id, outcome, report, started_at
      from taken returning site_id, job_id, device_id, outcome, failure_code
    ), told as (${announceJobs("ended", nowEnded)})
    select lease_id, job_id, device_id, kind, outcome from taken`.execute(db);
  return new Map(
    rows.map((
      { leaseId, deviceId, kind, outcome },
    ) => [leaseId, { deviceId, kind, outcome, late: false }]),
  );
}

/** Of a CTE `ended`: rows of `done`. */
export const nowEnded = sql`
  select site_id, job_id, device_id, jsonb_strip_nulls(
    jsonb_build_object('state', outcome, 'failureCode', failure_code)) as detail
  from ended`;

/** One is looked up by its key, whatever the planner thinks of the table. */
function givenOf(endings: readonly Ending[]): RawBuilder<unknown> {
  const [only] = endings;
  const columns = sql`(site_id uuid, job_id uuid, lease_id uuid, epoch integer, agent_id uuid,
    attempt_id uuid, envelope_sha256 text, duration_ms integer, outcome text, report jsonb)`;
  if (endings.length !== 1 || !only) {
    const rows = endings.map(rowOf);
    return sql`select * from jsonb_to_recordset(${
      JSON.stringify(rows)
    }::text::jsonb) as g${columns}`;
  }
  const row = rowOf(only);
  const report = row.report === undefined ? null : JSON.stringify(row.report);
  return sql`select ${row.site_id}::uuid as site_id, ${row.job_id}::uuid as job_id,
    ${row.lease_id}::uuid as lease_id, ${row.epoch}::int as epoch, ${row.agent_id}::uuid as agent_id,
    ${row.attempt_id}::uuid as attempt_id, ${row.envelope_sha256}::text as envelope_sha256,
    ${row.duration_ms}::int as duration_ms, ${row.outcome}::text as outcome,
    ${report}::text::jsonb as report`;
}

function rowOf({ attempt, verdict, envelope }: Ending) {
  return {
    site_id: attempt.siteId,
    job_id: attempt.jobId,
    lease_id: attempt.leaseId,
    epoch: attempt.epoch,
    agent_id: attempt.agentId,
    attempt_id: newId(),
    envelope_sha256: envelope.sha256,
    duration_ms: envelope.durationMs,
    outcome: verdict.status,
    report: verdict.status === "completed" ? verdict.report : undefined,
  };
}
