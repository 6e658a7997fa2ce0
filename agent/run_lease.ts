import { SignJWT } from "jose";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import type { LeaseClaims, LoginCredential, SealedCredential } from "@rookery/shared/jobs/lease.ts";
import { type AttemptReport, RESULT_TYPE, ResultClaims } from "@rookery/shared/jobs/result.ts";
import { deliver, type Deliverer } from "./deliver.ts";
import { RUNNERS, type Upload } from "./jobs/mod.ts";
import { errorText, type Log } from "./log.ts";
import type { HeldLease } from "./running_leases.ts";
import { DeviceError } from "./ssh/ssh_failure.ts";
import {
  type LeaseExpectation,
  LeaseRefusedError,
  type VerifiedLease,
  verifyLease,
} from "./verify_lease.ts";
import { AGENT_VERSION } from "./version.ts";
import type { SessionRunner } from "./workers/session_threads.ts";

/** Less than the time that the control plane keeps an offer for. */
const CONFIRM_MS = 25_000;

export interface LeaseWork extends Deliverer {
  /** A rotation changes them meanwhile. */
  readonly keys: { readonly signKey: CryptoKey };
  readonly sessions: SessionRunner;
  /** What to log in with; a DeviceError when only this agent could know and does not. */
  readonly loginFor: (sealed: SealedCredential) => Promise<LoginCredential>;
  /** Why the local policy does not let a job of this kind run. */
  readonly refuseKind: (kind: JobKind) => string | undefined;
  readonly log: Log;
}

interface Ended {
  readonly report: AttemptReport;
  readonly uploads: readonly Upload[];
}

/** A lease as it was granted, and what it is compared with. */
export interface GrantedLease {
  readonly lease: string;
  readonly credential: string;
  readonly expected: LeaseExpectation;
  /** Why the local policy does not let it run, whatever it is. */
  readonly refusal?: string | undefined;
}

/** The life of one lease: verify, run, sign, deliver. Never rejects; a lost lease ends in silence. */
export async function runLease(
  granted: GrantedLease,
  work: LeaseWork,
  lease: HeldLease,
): Promise<void> {
  const startedAt = work.clock.now();
  try {
    const verified = await verifyOrRefuse(granted, work);
    const ended = "refused" in verified
      ? { report: verified.refused, uploads: [] }
      : await attempt(verified, work, lease);
    const { claims } = verified;
    if (!ended) return work.log("warn", "lease_lost", { lease: claims.jti, job: claims.sub });
    lease.reporting();
    const durationMs = Math.round(work.clock.now() - startedAt);
    logEnd(claims, ended.report, { durationMs, log: work.log });
    const result = await signResult(
      claims,
      { report: ended.report, durationMs },
      work.keys.signKey,
    );
    await deliver({ leaseId: claims.jti, result, uploads: ended.uploads }, work);
  } catch (error) {
    work.log("error", "lease_dropped", { reason: errorText(error) });
  }
}

/** One line for every attempt that may touch its device from now on. */
function logStart({ jti, sub, kind, epoch, device }: LeaseClaims, log: Log): void {
  log("info", "attempt_started", { lease: jti, job: sub, kind, epoch, device: device.id });
}

/** One line for every attempt that is reported; why it failed stands in `attempt_failed` or `lease_refused`. */
function logEnd(
  claims: LeaseClaims,
  report: AttemptReport,
  { durationMs, log }: { durationMs: number; log: Log },
): void {
  log("info", "attempt_ended", {
    lease: claims.jti,
    job: claims.sub,
    kind: claims.kind,
    device: claims.device.id,
    outcome: report.status,
    ...(report.status === "failed" ? { code: report.failure.code } : {}),
    ms: durationMs,
  });
}

/** A lease whose signature is good but whose fields are not is answered; a forged one is only logged. */
async function verifyOrRefuse(
  granted: GrantedLease,
  work: LeaseWork,
): Promise<VerifiedLease | { claims: LeaseClaims; refused: AttemptReport }> {
  try {
    const verified = await verifyLease(granted, granted.expected);
    const { claims } = verified;
    const why = granted.refusal ?? work.refuseKind(claims.kind);
    if (why === undefined) return verified;
    throw new LeaseRefusedError(why, { code: "refused_by_agent_policy", claims });
  } catch (error) {
    if (!(error instanceof LeaseRefusedError) || !error.claims) throw error;
    work.log("error", "lease_refused", { lease: error.claims.jti, reason: error.message });
    const failure = { code: error.code, detail: error.message };
    return { claims: error.claims, refused: { status: "failed", failure } };
  }
}

/** Runs the job; undefined when the lease was lost, so that there is nobody to report to. */
async function attempt(
  verified: VerifiedLease,
  work: LeaseWork,
  lease: HeldLease,
): Promise<Ended | undefined> {
  const { claims } = verified;
  const { signal } = lease;
  try {
    await untilConfirmed(lease, work);
    const { sessions } = work;
    logStart(claims, work.log);
    const runnable = { ...verified, credential: await work.loginFor(verified.credential) };
    const { outcome, uploads } = await RUNNERS[claims.kind](runnable, {
      sessions,
      signal,
      onStep: (step, percent) => lease.progress(step, percent),
    });
    return { report: { status: "completed", outcome: outcome as never }, uploads };
  } catch (error) {
    const failed = error instanceof DeviceError ? error : undefined;
    if (failed?.code === "lease_lost") return undefined;
    if (failed?.code === "cancelled") return { report: { status: "cancelled" }, uploads: [] };
    work.log(failed ? "info" : "error", "attempt_failed", {
      job: claims.sub,
      device: claims.device.id,
      code: failed?.code ?? "agent_fault",
      reason: errorText(error),
    });
    return { report: failedReport(failed), uploads: [] };
  }
}

/**
 * No device is touched before a heartbeat that named the lease was answered: an offer that is not started goes to
 * another agent after half a minute, and then two would speak to one device.
 */
async function untilConfirmed(lease: HeldLease, { clock }: LeaseWork): Promise<void> {
  const given = new AbortController();
  const signal = AbortSignal.any([given.signal, lease.signal]);
  const waited = clock.sleep(CONFIRM_MS, { signal }).then(() => "late" as const);
  const first = await Promise.race([lease.confirmed, waited]);
  given.abort();
  lease.signal.throwIfAborted();
  if (first === "late") throw new DeviceError("lease_lost");
}

/** An unforeseen error is logged here and not sent: its text could hold anything. */
function failedReport(failed: DeviceError | undefined): AttemptReport {
  if (!failed) {
    const detail = "The agent failed in an unforeseen way; its log says how.";
    return { status: "failed", failure: { code: "agent_fault", detail } };
  }
  return {
    status: "failed",
    failure: { code: failed.code, detail: failed.message.slice(0, 2_000) },
    ...(failed.hostKey ? { hostKey: failed.hostKey } : {}),
  };
}

async function signResult(
  claims: LeaseClaims,
  end: { report: AttemptReport; durationMs: number },
  key: CryptoKey,
): Promise<string> {
  const result = ResultClaims.parse({
    iss: claims.aud,
    aud: claims.iss,
    sub: claims.sub,
    jti: claims.jti,
    siteId: claims.siteId,
    epoch: claims.epoch,
    bootId: claims.bootId,
    incarnation: claims.incarnation,
    ...end,
    agentVersion: AGENT_VERSION,
  });
  return await new SignJWT({ ...result })
    .setProtectedHeader({ alg: "Ed25519", typ: RESULT_TYPE })
    .sign(key);
}
