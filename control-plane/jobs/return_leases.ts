import { type RawBuilder, sql, type Transaction } from "kysely";
import { type FailureCode, failureSentence, RETRY_POLICIES } from "@rookery/shared/jobs/failure.ts";
import type { BackupAttempt } from "../backups/record_backup.ts";
import type { Database } from "../database/schema.ts";
import { announceJobs } from "../outbox/announce.ts";
import { attemptsInForce } from "./attempts.ts";
import { nowWaiting } from "./accept.ts";
import { nowEnded } from "./accept_ended.ts";
import { workOf } from "./kinds.ts";

/** Lost sessions that a job survives without their counting as failures: WAN blips are nobody's fault. */
const FREE_SESSION_LOSSES = 2;

/** Why leases go back without a report, and what that costs the job. */
export interface ReturnReason {
  /** What the attempt is recorded as. */
  readonly attempt: "released" | "expired" | "lost";
  readonly code: FailureCode;
  /** `none`: the job goes back as it was; `loss`: a lost session; `failure`: the attempt counts. */
  readonly cost: "none" | "loss" | "failure";
}

/**
 * Takes the leases that `which` selects (an SQL condition over `leases l`) back from their agent: cancelled
 * ones end, exhausted ones die, the others wait again. Their epoch stays with the last holder, whose late
 * result is still welcome while nobody holds a newer one. Returns how many leases went.
 */
export async function returnLeases(
  tx: Transaction<Database>,
  which: RawBuilder<unknown>,
  reason: ReturnReason,
): Promise<number> {
  if (!await lockSites(tx, which)) return 0;
  const { rows } = await sql<ReturnedLease>`
    with picked as (
      select l.site_id, l.device_id from leases l where ${which}
      order by l.site_id, l.device_id for update
    ), taken as (
      delete from leases l using picked p
      where l.site_id = p.site_id and l.device_id = p.device_id returning l.*
    ), counted as (
      select t.*, t.session_losses + ${reason.cost === "loss" ? 1 : 0}::int as losses,
        t.fails + ${costInFails(reason)} as failures, ${nextDue(reason)} as next_due
      from taken t
    ), verdict as (
      select c.*, case when c.cancel_requested then 'cancelled'
        when c.failures > c.fails and c.failures >= ${
    attemptsInForce("session")
  } then 'dead' end as outcome
      from counted c
    ), waiting as (
      insert into ready (site_id, rank, job_id, device_id, kind, due_at, offset_seconds, epoch,
        fails, session_losses, last_failure, late_agent_id, late_fails, logs_in, expires_at,
        credential_id)
      select site_id,
        case when next_due > clock_timestamp()
          then next_due + make_interval(secs => greatest(offset_seconds, 0)) else rank end,
        job_id, device_id, kind, next_due, offset_seconds, epoch, failures, losses,
        ${reason.cost === "none" ? sql`last_failure` : sql`${reason.code}::text`}, agent_id, fails,
        logs_in, expires_at,
        (select d.credential_id from devices d where d.id = verdict.device_id and logs_in)
      from verdict where outcome is null
      returning site_id, job_id, device_id, due_at, last_failure
    ), ended as (
      insert into done (site_id, job_id, device_id, kind, epoch, agent_id, outcome, failure_code,
        started_at)
      select site_id, job_id, device_id, kind, epoch, agent_id, outcome,
        case when outcome = 'dead' then ${reason.code}::text end, started_at
      from verdict where outcome is not null returning *
    ), told_waiting as (
      ${announceJobs("retrying", nowWaiting)}
    ), told_ended as (
      ${announceJobs("ended", nowEnded)}
    ), closed as (
      delete from open_jobs o using verdict v
      where v.outcome is not null and o.site_id = v.site_id and o.job_id = v.job_id
    ), recorded as (
      insert into attempts (id, site_id, job_id, device_id, lease_id, epoch, agent_id, outcome,
        failure_code, granted_at, started_at)
      select gen_random_uuid(), site_id, job_id, device_id, id, epoch, agent_id,
        ${reason.attempt}::text, ${reason.code}::text, granted_at, started_at
      from verdict
    )
    select site_id, device_id, job_id, kind, epoch, agent_id, outcome from verdict
    order by device_id`.execute(tx);
  for (const { outcome, kind, ...lease } of rows) {
    if (outcome !== "dead") continue;
    const failure = { code: reason.code, detail: failureSentence(reason.code) };
    // A device whose agent is lost again and again has failed, although nobody reports it.
    const attempt = { ...lease, durationMs: 0, late: false };
    await workOf(kind).noteFailure?.(tx, { attempt, failure });
  }
  return rows.length;
}

type Lease = Pick<BackupAttempt, "siteId" | "deviceId" | "jobId" | "epoch" | "agentId">;

interface ReturnedLease extends Lease {
  readonly kind: string;
  readonly outcome: "cancelled" | "dead" | null;
}

/**
 * Sites come before leases in the lock order; their queue version rises because the jobs go back to where
 * they stood, which may lie before a claim floor. False when there is nothing to return.
 */
async function lockSites(tx: Transaction<Database>, which: RawBuilder<unknown>): Promise<boolean> {
  const { numAffectedRows } = await sql`
    with held as (
      select s.id from sites s where s.id in (select l.site_id from leases l where ${which})
      order by s.id for no key update
    )
    update sites s set queue_version = queue_version + 1 from held h where s.id = h.id`.execute(tx);
  return (numAffectedRows ?? 0n) > 0n;
}

/** What the return adds to the job's failures, as SQL over the lease `t`. */
function costInFails(reason: ReturnReason) {
  if (reason.cost === "none") return sql`0`;
  if (reason.cost === "failure") return sql`1`;
  return sql`case when t.session_losses >= ${FREE_SESSION_LOSSES}::int then 1 else 0 end`;
}

/** When a returned job is due again: at once if nothing happened, else after a delay with full jitter. */
function nextDue(reason: ReturnReason) {
  if (reason.cost === "none") return sql`t.due_at`;
  const { baseSeconds, capSeconds } = RETRY_POLICIES.session;
  return sql`clock_timestamp() + make_interval(secs => random()
    * least(${capSeconds}::float, ${baseSeconds}::float * power(2, t.fails + t.session_losses)))`;
}
