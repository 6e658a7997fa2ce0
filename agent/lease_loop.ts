import { claimLeases } from "@rookery/shared/api/agent_protocol.ts";
import type { BootId, ClaimId, LeaseId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { decodeJwt } from "jose";
import { type Clock, jitteredMs } from "./clock.ts";
import { type ControlPlane, isDecisionPending, isDismissal, patienceMs } from "./control_plane.ts";
import type { Fence } from "./fence.ts";
import type { HeartbeatKick } from "./heartbeat.ts";
import { errorText, type Log } from "./log.ts";
import { type GrantedLease, type LeaseWork, runLease } from "./run_lease.ts";
import { retryAfterMs } from "./retry_after.ts";
import type { RunningLeases } from "./running_leases.ts";
import type { Spool } from "./spool.ts";
import type { LeaseExpectation } from "./verify_lease.ts";

const WAIT_SECONDS = 50;
/** A proxy that swallowed the reply must not hold the loop for ever. */
const REQUEST_TIMEOUT_MS = 70_000;
const RETRY = { baseMs: 500, capMs: 30_000 };
const RETRY_AFTER_SECONDS = { min: 0, max: 300 };
/** A control plane that is shutting down holds no claim: it is not to be asked as fast as it can answer. */
const MIN_CLAIM_MS = 1_000;
/** A heartbeat lists no more. */
const MAX_LISTED = 256;
const TOO_MANY = "The agent's local policy forbids more sessions at a time. " +
  "Raise policy.sessions in settings.json of the agent; then restart the agent";
/** How often a fenced agent looks whether a heartbeat was answered. */
const FENCED_MS = 200;
/** How often an agent without room for results looks whether there is some. */
const FULL_MS = 1_000;

export interface LeaseLoopOptions {
  readonly controlPlane: ControlPlane;
  readonly bootId: BootId;
  readonly capacity: number;
  /** The local policy's limit of sessions: a lease beyond it is refused and reported. */
  readonly policySessions?: number | undefined;
  readonly leases: RunningLeases;
  readonly fence: Fence;
  readonly kick: HeartbeatKick;
  readonly clock: Clock;
  readonly log: Log;
  readonly work: LeaseWork;
  readonly expectation: (claimId: ClaimId) => Promise<LeaseExpectation>;
  /** Told when the control plane sent this agent away, which ends the loop. */
  readonly onDismissal: (problem: ProblemError) => void;
  /** Where results are kept: while it has no room, nothing is claimed. */
  readonly spool: Pick<Spool, "check" | "filling">;
  /** Aborted when no more is to be claimed. */
  readonly signal: AbortSignal;
}

/** Claims and starts work while there is room, until `signal`. A claim whose reply was lost is repeated. */
export async function runLeaseLoop(options: LeaseLoopOptions): Promise<void> {
  const { leases, capacity, fence, spool, clock, log, signal } = options;
  const stopped = aborted(signal);
  let claimId = newClaimId();
  let failures = 0;
  while (!signal.aborted) {
    if (leases.size >= capacity) {
      await Promise.race([leases.changed(), stopped]);
      continue;
    }
    // What is granted to an agent that is not heard could not be started, and would be missing elsewhere.
    if (fence.remainingMs() <= 0) {
      await clock.sleep(FENCED_MS, { signal });
      continue;
    }
    if (!await spool.check()) {
      await clock.sleep(FULL_MS, { signal });
      continue;
    }
    const startedAt = clock.now();
    try {
      const started = await claimAndStart(options, claimId);
      claimId = newClaimId();
      failures = 0;
      const early = MIN_CLAIM_MS - (clock.now() - startedAt);
      if (started === 0 && early > 0) await clock.sleep(early, { signal });
    } catch (error) {
      if (signal.aborted) return;
      if (isDismissal(error)) return options.onDismissal(error);
      if (spool.filling.aborted) continue;
      log("warn", "claim_failed", { reason: errorText(error), failures: ++failures });
      const wait = isDecisionPending(error)
        ? patienceMs(failures)
        : retryAfterMs(error, RETRY_AFTER_SECONDS) ?? 100;
      await clock.sleep(wait + jitteredMs(failures, RETRY), { signal });
    }
  }
}

/** Returns how many leases were started. What cannot be started goes back by itself. */
async function claimAndStart(options: LeaseLoopOptions, claimId: ClaimId): Promise<number> {
  const { controlPlane, bootId, capacity, leases, fence } = options;
  const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  const signal = AbortSignal.any([options.signal, options.spool.filling, timeout]);
  const reply = await controlPlane.call(claimLeases, {
    body: { claimId, bootId, wanted: capacity - leases.size, waitSeconds: WAIT_SECONDS },
  }, { signal });
  if (reply.leases.length === 0) return 0;
  const expected = await options.expectation(claimId);
  if (options.signal.aborted) return 0;
  // A reply that was long on its way may be of leases that others have by now: the same claim is asked again.
  if (fence.remainingMs() <= 0) throw new Error("The leases came when this agent was fenced");
  // However many came: this agent's own capacity is a limit that no control plane widens.
  const room = Math.max(0, capacity - leases.size);
  const policyRoom = Math.max(room, (options.policySessions ?? Infinity) - leases.size);
  const start = (granted: Granted, refusal?: string) =>
    startLease({ ...granted, expected, refusal }, options);
  const started = reply.leases.slice(0, room).filter((granted) => start(granted)).length;
  const refused = reply.leases.slice(policyRoom, MAX_LISTED - leases.size)
    .filter((granted) => start(granted, TOO_MANY)).length;
  options.kick.kick();
  const left = reply.leases.length - started - refused;
  if (left > 0) options.log("warn", "leases_not_started", { leases: left });
  return started;
}

type Granted = Pick<GrantedLease, "lease" | "credential">;

/** False when the lease cannot even be listed. */
function startLease(granted: GrantedLease, { leases, work }: LeaseLoopOptions): boolean {
  const id = listedId(granted.lease);
  if (id === undefined) return false;
  leases.start(id, (lease) => runLease(granted, work, lease));
  return true;
}

/** Only to list the lease in heartbeats: nothing of it is believed before its signature is checked. */
function listedId(token: string): LeaseId | undefined {
  try {
    return decodeJwt(token).jti as LeaseId | undefined;
  } catch {
    return undefined;
  }
}

function newClaimId(): ClaimId {
  return crypto.randomUUID() as ClaimId;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
