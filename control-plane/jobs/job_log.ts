import { type Kysely, sql } from "kysely";
import { z } from "zod";
import type { JobLogLine } from "@rookery/shared/api/job_history.ts";
import { type AgentId, Instant, type JobId, type SiteId } from "@rookery/shared/ids.ts";
import { type FailureCode, failureSentence } from "@rookery/shared/jobs/failure.ts";
import type { Database } from "../database/schema.ts";

/** Where a line stands: at that time, of lines of the same time by what they are, and then by what they tell of. */
export const LogPlace = z.strictObject({ at: Instant, order: z.int().min(0).max(9), id: z.uuid() });
export type LogPlace = z.infer<typeof LogPlace>;

/** A line as the tables tell it. */
export interface LogRow {
  readonly at: Temporal.Instant;
  readonly order: number;
  readonly id: string;
  readonly event: JobLogLine["event"];
  readonly epoch: number | null;
  readonly agentId: AgentId | null;
  readonly agentName: string | null;
  readonly failureCode: FailureCode | null;
  readonly failureDetail: string | null;
  readonly outcome: string | null;
  readonly said: string | null;
}

/**
 * What happened to a job, oldest first, after a place. Jobs, grants, attempts and done are the log: what they tell is not
 * written twice. `job_log` holds the rest.
 */
export async function selectLog(
  db: Kysely<Database>,
  { siteId, jobId, after, limit }: {
    readonly siteId: SiteId;
    readonly jobId: JobId;
    readonly after: LogPlace | undefined;
    readonly limit: number;
  },
): Promise<LogRow[]> {
  const ofJob = sql`site_id = ${siteId} and job_id = ${jobId}`;
  const nothing =
    sql`null::text as failure_code, null::text as failure_detail, null::text as outcome`;
  const { rows } = await sql<LogRow>`
    select n.*, a.name as agent_name from (
      select created_at as at, 0 as "order", id, 'enqueued' as event, null::int as epoch,
        null::uuid as agent_id, ${nothing},
        case when due_at > created_at then 'for ' || to_json(due_at)::text end as said
      from jobs where site_id = ${siteId} and id = ${jobId}
      union all
      select granted_at, 1, lease_id, 'granted', epoch, agent_id, ${nothing}, null
      from grants where ${ofJob}
      union all
      select started_at, 2, id, 'started', epoch, agent_id, ${nothing}, null
      from leases where ${ofJob} and started_at is not null
      union all
      select started_at, 2, lease_id, 'started', epoch, agent_id, ${nothing}, null
      from attempts where ${ofJob} and started_at is not null
      union all
      select at, 3, id, event, epoch, null, ${nothing},
        concat_ws(', ', step, percent || ' %', bytes || ' bytes')
      from job_log where ${ofJob}
      union all
      select ended_at, 4, lease_id, 'attempt_ended', epoch, agent_id, failure_code, failure_detail,
        outcome, null
      from attempts where ${ofJob}
      union all
      select ended_at, 5, job_id, 'ended', epoch, agent_id, failure_code, failure_detail, outcome,
        null
      from done where ${ofJob}
    ) n left join agents a on a.id = n.agent_id
    ${
    after === undefined
      ? sql``
      : sql`where (n.at, n."order", n.id) > (${after.at}::timestamptz, ${after.order}::int, ${after.id}::uuid)`
  }
    order by n.at, n."order", n.id limit ${limit}`.execute(db);
  return rows;
}

/** A line as people read it. */
export function lineOf(row: LogRow): JobLogLine {
  const { at, event, epoch, agentId, failureCode } = row;
  return {
    at: at.toString(),
    event,
    epoch,
    agentId,
    failureCode,
    level: levelOf(row),
    text: textOf(row),
  };
}

function levelOf({ event, outcome, failureCode }: LogRow): JobLogLine["level"] {
  if (event === "ended" && (outcome === "failed" || outcome === "dead")) return "error";
  return event === "attempt_ended" && failureCode !== null ? "warn" : "info";
}

function textOf(row: LogRow): string {
  const why = row.failureCode === null
    ? ""
    : `: ${row.failureCode}. ${row.failureDetail || failureSentence(row.failureCode)}`;
  const agent = row.agentName ?? "an agent that is gone";
  switch (row.event) {
    case "enqueued":
      return row.said ? `Enqueued ${row.said.replaceAll('"', "")}` : "Enqueued";
    case "raised":
      return "Asked for again: moved to the front";
    case "granted":
      return `Attempt ${row.epoch} granted to ${agent}`;
    case "started":
      return `Attempt ${row.epoch} started by ${agent}`;
    case "progress":
      return row.said ?? "";
    case "cancel_requested":
      return "Cancellation asked for: the agent is told";
    case "attempt_ended":
      return `Attempt ${row.epoch} ${row.outcome}${why}`;
    case "ended":
      return `The job is ${row.outcome}${why}`;
  }
}
