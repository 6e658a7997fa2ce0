import { type Kysely, sql } from "kysely";
import type { LeaseProgress } from "@rookery/shared/api/agent_protocol.ts";
import type { AgentId, BootId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { announceJobs } from "../outbox/announce.ts";

/** An agent need not say more often how far it is; what comes sooner is dropped. */
export const PROGRESS_SECONDS = 5;

/** Notes how far an agent says it is with the leases it holds; what it says of others is nothing. */
export async function noteProgress(
  db: Kysely<Database>,
  { agentId, bootId, progress }: {
    readonly agentId: AgentId;
    readonly bootId: BootId;
    readonly progress: readonly LeaseProgress[];
  },
): Promise<void> {
  if (progress.length === 0) return;
  await sql`
    with said as (
      select distinct on (l.id) l.site_id, l.job_id, l.device_id, l.epoch, p.step, p.percent, p.bytes
      from jsonb_to_recordset(${JSON.stringify(progress)}::text::jsonb)
        as p("leaseId" uuid, step text, percent smallint, bytes bigint)
      join leases l on l.id = p."leaseId" and l.agent_id = ${agentId} and l.boot_id = ${bootId}
        and l.running
      where not exists (select 1 from job_log g where g.site_id = l.site_id and g.job_id = l.job_id
        and g.event = 'progress'
        and g.at > clock_timestamp() - make_interval(secs => ${PROGRESS_SECONDS}::int))
    ), logged as (
      insert into job_log (site_id, job_id, event, epoch, step, percent, bytes)
      select site_id, job_id, 'progress', epoch, step, percent, bytes from said
    )
    ${announceJobs("progress", nowSaid)}`.execute(db);
}

const nowSaid = sql`
  select site_id, job_id, device_id, jsonb_strip_nulls(jsonb_build_object('epoch', epoch,
    'step', step, 'percent', percent, 'bytes', bytes)) as detail
  from said`;
