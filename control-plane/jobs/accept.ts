import { sql, type Transaction } from "kysely";
import type { AgentId, DeviceId, JobId, LeaseId, SiteId } from "@rookery/shared/ids.ts";
import {
  type Failure,
  type FailureClass,
  failureClass,
  RETRY_POLICIES,
  type RetryPolicy,
} from "@rookery/shared/jobs/failure.ts";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { announceJobs } from "../outbox/announce.ts";
import { acceptEnded, nowEnded } from "./accept_ended.ts";
import { attemptsInForce } from "./attempts.ts";

/** Who reports on which attempt; every write of a result matches all of it. */
export interface Attempt {
  readonly siteId: SiteId;
  readonly jobId: JobId;
  readonly leaseId: LeaseId;
  readonly epoch: number;
  readonly agentId: AgentId;
}

/** How the attempt ended, as the control plane judges it. */
export type Verdict =
  | { readonly status: "completed"; readonly report: unknown }
  | { readonly status: "failed"; readonly failure: Failure }
  | { readonly status: "cancelled" };

export interface Envelope {
  readonly sha256: string;
  readonly durationMs: number;
}

export type Answer = "accepted" | "accepted_late" | "superseded";

/** The attempt as it was settled, or what became of it earlier. */
export interface Acceptance {
  readonly answer: Answer;
  /** The same envelope was answered before; nothing changed now. */
  readonly duplicate: boolean;
  /** A credential was quarantined for it: the jobs that wait for that credential end. */
  readonly quarantined?: boolean;
  readonly settled?: SettledJob;
}

export interface SettledJob {
  readonly deviceId: DeviceId;
  readonly kind: JobKind;
  /** `waiting`: it will be tried again. */
  readonly outcome: "completed" | "failed" | "cancelled" | "dead" | "waiting";
  readonly late: boolean;
}

interface Taken {
  readonly deviceId: DeviceId;
  readonly kind: JobKind;
  readonly fails: number;
  readonly sessionLosses: number;
  readonly offsetSeconds: number;
  readonly cancelRequested: boolean;
  readonly logsIn: boolean;
  readonly expiresAt: Temporal.Instant | null;
  readonly grantedAt: Temporal.Instant;
  readonly startedAt: Temporal.Instant | null;
  readonly late: boolean;
}

/**
 * Settles an attempt, exactly once: the lease (or, when it was lost, the waiting job that nobody else took)
 * must still carry this epoch of this agent. Otherwise the envelope gets the answer it got before, or
 * `superseded`, which is recorded and changes no state.
 */
export async function acceptResult(
  tx: Transaction<Database>,
  attempt: Attempt,
  result: { verdict: Verdict; envelope: Envelope },
): Promise<Acceptance> {
  const { verdict: told, envelope } = result;
  if (told.status !== "failed") {
    const ended = await acceptEnded(tx, [{ attempt, verdict: told, envelope }]);
    const settled = ended.get(attempt.leaseId);
    if (settled) return { answer: "accepted", duplicate: false, settled };
  }
  const taken = told.status === "failed" && await takeLease(tx, attempt) ||
    await takeLate(tx, attempt);
  if (!taken) return await answerAgain(tx, attempt, result);
  const verdict: Verdict = taken.cancelRequested ? { status: "cancelled" } : result.verdict;
  const answer = taken.late ? "accepted_late" : "accepted";
  await recordAttempt(tx, attempt, { ...result, verdict, answer, taken });
  const outcome = await settle(tx, attempt, { verdict, taken });
  const { deviceId, kind, late } = taken;
  return { answer, duplicate: false, settled: { deviceId, kind, outcome, late } };
}

/** For a failure: what becomes of the job depends on how often it failed before. */
async function takeLease(tx: Transaction<Database>, attempt: Attempt): Promise<Taken | undefined> {
  const { rows } = await sql<Taken>`
    delete from leases
    where site_id = ${attempt.siteId} and job_id = ${attempt.jobId} and id = ${attempt.leaseId}
      and epoch = ${attempt.epoch} and agent_id = ${attempt.agentId}
    returning device_id, kind, fails, session_losses, offset_seconds, cancel_requested, granted_at,
      started_at, logs_in, expires_at, false as late`.execute(tx);
  return rows[0];
}

/** Late but not superseded: nobody holds a newer epoch, so the work is not thrown away. */
async function takeLate(tx: Transaction<Database>, attempt: Attempt): Promise<Taken | undefined> {
  const { rows } = await sql<Taken>`
    delete from ready r using grants g
    where r.site_id = ${attempt.siteId} and r.job_id = ${attempt.jobId}
      and r.epoch = ${attempt.epoch} and r.late_agent_id = ${attempt.agentId}
      and g.lease_id = ${attempt.leaseId} and g.epoch = r.epoch and g.job_id = r.job_id
    returning r.device_id, r.kind, coalesce(r.late_fails, r.fails) as fails, r.session_losses, r.offset_seconds,
      r.logs_in, r.expires_at, false as cancel_requested, g.granted_at, null as started_at,
      true as late`.execute(tx);
  return rows[0];
}

/**
 * Statements of their own, so that they see what was committed while the ones above waited for a lock. An
 * envelope that was answered gets that answer for ever; another one is superseded, which changes no job.
 */
export async function answerAgain(
  tx: Transaction<Database>,
  attempt: Attempt,
  result: { verdict: Verdict; envelope: Envelope },
): Promise<Acceptance> {
  // One envelope that comes twice at once is recorded once: the second one waits here, and sees the answer of the first.
  await sql`
    select 1 from grants where lease_id = ${attempt.leaseId} for no key update`.execute(tx);
  const { rows } = await sql<{ answer: Answer }>`
    select answer from attempts
    where site_id = ${attempt.siteId} and job_id = ${attempt.jobId} and epoch = ${attempt.epoch}
      and agent_id = ${attempt.agentId} and envelope_sha256 = ${result.envelope.sha256}
      and answer is not null
    order by ended_at limit 1`.execute(tx);
  if (rows[0]) return { answer: rows[0].answer, duplicate: true };
  await recordSuperseded(tx, attempt, result.envelope);
  return { answer: "superseded", duplicate: false };
}

async function recordSuperseded(tx: Transaction<Database>, attempt: Attempt, envelope: Envelope) {
  await sql`
    insert into attempts (id, site_id, job_id, device_id, lease_id, epoch, agent_id, outcome,
      answer, envelope_sha256, duration_ms, granted_at)
    select ${newId()}, site_id, job_id, device_id, lease_id, epoch, agent_id, 'superseded',
      'superseded', ${envelope.sha256}, ${envelope.durationMs}, granted_at
    from grants where lease_id = ${attempt.leaseId} and agent_id = ${attempt.agentId}`.execute(tx);
}

async function recordAttempt(
  tx: Transaction<Database>,
  attempt: Attempt,
  end: { verdict: Verdict; envelope: Envelope; answer: Answer; taken: Taken },
): Promise<void> {
  const failure = end.verdict.status === "failed" ? end.verdict.failure : undefined;
  const { siteId, jobId, leaseId, epoch, agentId } = attempt;
  await tx.insertInto("attempts").values({
    id: newId(),
    ...{ siteId, jobId, leaseId, epoch, agentId },
    deviceId: end.taken.deviceId,
    outcome: end.verdict.status,
    failureCode: failure?.code ?? null,
    failureDetail: failure?.detail ?? null,
    answer: end.answer,
    envelopeSha256: end.envelope.sha256,
    durationMs: end.envelope.durationMs,
    grantedAt: end.taken.grantedAt,
    startedAt: end.taken.startedAt,
  }).execute();
}

/** Moves the job on: to done, or back to waiting when its failure class allows another attempt. */
async function settle(
  tx: Transaction<Database>,
  attempt: Attempt,
  end: { verdict: Verdict; taken: Taken },
): Promise<SettledJob["outcome"]> {
  const { verdict, taken } = end;
  if (verdict.status !== "failed") {
    await finish(tx, attempt, { ...end, outcome: verdict.status });
    return verdict.status;
  }
  const failedBy = failureClass(verdict.failure.code);
  const policy = RETRY_POLICIES[failedBy];
  const fails = taken.fails + 1;
  if (fails < await readAttempts(tx, failedBy)) {
    await waitAgain(tx, attempt, { taken, failure: verdict.failure, fails, policy });
    return "waiting";
  }
  // A class that is never retried is a verdict on the device; an exhausted one is a dead job to requeue.
  const outcome = policy.attempts === 1 ? "failed" : "dead";
  await finish(tx, attempt, { ...end, outcome });
  return outcome;
}

async function readAttempts(tx: Transaction<Database>, failedBy: FailureClass): Promise<number> {
  const { rows: [row] } = await sql<{ attempts: number }>`
    select ${attemptsInForce(failedBy)} as attempts`.execute(tx);
  return row?.attempts ?? RETRY_POLICIES[failedBy].attempts;
}

/** The device is locked, since this transaction does not hold its site: the job's lane must be its credential's. */
async function waitAgain(
  tx: Transaction<Database>,
  attempt: Attempt,
  next: { taken: Taken; failure: Failure; fails: number; policy: RetryPolicy },
): Promise<void> {
  const { taken, failure, fails, policy } = next;
  const delay = delaySeconds(policy, fails);
  await sql`
    with waiting as (
    insert into ready (site_id, rank, job_id, device_id, kind, due_at, offset_seconds, epoch, fails,
      session_losses, last_failure, logs_in, expires_at, credential_id)
    select ${attempt.siteId}, due + make_interval(secs => greatest(${taken.offsetSeconds}::int, 0)),
      ${attempt.jobId}, ${taken.deviceId}, ${taken.kind}, due, ${taken.offsetSeconds},
      ${attempt.epoch}, ${fails}, ${taken.sessionLosses}, ${failure.code}, ${taken.logsIn},
      ${taken.expiresAt}::timestamptz, case when ${taken.logsIn} then d.credential_id end
    from (select clock_timestamp() + make_interval(secs => ${delay}::float) as due) t,
      (select credential_id from devices where id = ${taken.deviceId} for share) d
    returning site_id, job_id, device_id, due_at, last_failure
    )
    ${announceJobs("retrying", nowWaiting)}`.execute(tx);
}

/** Of a CTE `waiting`: rows of `ready` that were put back after an attempt. */
export const nowWaiting = sql`
  select site_id, job_id, device_id, jsonb_strip_nulls(jsonb_build_object('dueAt', due_at,
    'state', case when due_at > now() then 'scheduled' else 'available' end,
    'failureCode', last_failure)) as detail
  from waiting`;

/** Exponential with full jitter, or fixed with half of it; never more than the cap. */
export function delaySeconds(policy: RetryPolicy, fails: number): number {
  if (policy.backoff === "fixed") return policy.baseSeconds * (0.5 + Math.random());
  return Math.random() * Math.min(policy.capSeconds, policy.baseSeconds * 2 ** fails);
}

async function finish(
  tx: Transaction<Database>,
  attempt: Attempt,
  end: { verdict: Verdict; taken: Taken; outcome: "completed" | "failed" | "cancelled" | "dead" },
): Promise<void> {
  const { siteId, jobId, epoch, agentId } = attempt;
  const { deviceId, kind, late } = end.taken;
  const { verdict, outcome } = end;
  const failure = verdict.status === "failed" ? verdict.failure : undefined;
  const report = verdict.status === "completed" ? JSON.stringify(verdict.report) : null;
  // One statement: nothing in it reads what another part of it writes. A later success of the same device and kind closes
  // what had died before it.
  await sql`
    with closed as (
      delete from open_jobs where site_id = ${siteId} and job_id = ${jobId}
    ), repaired as (
      update done set closed_at = clock_timestamp()
      where ${outcome === "completed"}::boolean and site_id = ${siteId}
        and device_id = ${deviceId} and kind = ${kind} and outcome = 'dead' and closed_at is null
    ), ended as (
    insert into done (site_id, job_id, device_id, kind, epoch, agent_id, late, outcome,
      failure_code, failure_detail, report, started_at)
    values (${siteId}, ${jobId}, ${deviceId}, ${kind}, ${epoch}, ${agentId}, ${late}, ${outcome},
      ${failure?.code ?? null}, ${failure?.detail ?? null}, ${report}::text::jsonb,
      ${end.taken.startedAt}::timestamptz)
    returning *
    )
    ${announceJobs("ended", nowEnded)}`.execute(tx);
}
