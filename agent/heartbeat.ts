import { sendHeartbeat } from "@rookery/shared/api/agent_protocol.ts";
import type { BootId } from "@rookery/shared/ids.ts";
import type { ProblemError } from "@rookery/shared/problem.ts";
import { boundedMs, type Clock, jitteredMs } from "./clock.ts";
import { type ControlPlane, isDecisionPending, isDismissal, patienceMs } from "./control_plane.ts";
import type { Fence } from "./fence.ts";
import { errorText, type Log } from "./log.ts";
import { retryAfterMs } from "./retry_after.ts";
import type { RunningLeases } from "./running_leases.ts";

const RETRY = { baseMs: 500, capMs: 5_000 };
const REQUEST_TIMEOUT_MS = 10_000;
/** What the control plane may ask for, whoever answers in its place. */
const HEARTBEAT_SECONDS = { min: 1, max: 300 };
/** A control plane that is busy is left alone, but not for so long that the leases are lost over it. */
const RETRY_AFTER_SECONDS = { min: 0, max: 8 };
/** As many as a heartbeat may tell of; what is lost with a failed one is told anew with the next step. */
const MOST_PROGRESS = 256;
/** How often the fence is looked at while heartbeats fail. */
const FENCE_CHECK_MS = 250;

export interface HeartbeatOptions {
  readonly controlPlane: ControlPlane;
  readonly bootId: BootId;
  readonly leases: RunningLeases;
  readonly fence: Fence;
  readonly clock: Clock;
  readonly log: Log;
  /** Told again and again that the fence holds; ended with all they know when it does not. */
  readonly sessions: { hold(): void; wipe(): void };
  /** Told when the control plane sent this agent away, which ends the pulse. */
  readonly onDismissal: (problem: ProblemError) => void;
  readonly signal: AbortSignal;
}

/** Wakes the heartbeat early: a lease counts as started with the first heartbeat that names it. */
export class HeartbeatKick {
  #waiting = Promise.withResolvers<void>();

  kick(): void {
    this.#waiting.resolve();
    this.#waiting = Promise.withResolvers<void>();
  }

  wait(): Promise<void> {
    return this.#waiting.promise;
  }
}

/** The agent's pulse, until `signal`: renews all leases, carries cancellations back. */
export async function runHeartbeat(options: HeartbeatOptions, kick: HeartbeatKick): Promise<void> {
  const { clock, log, signal } = options;
  let failures = 0;
  // An older control plane refuses what it does not know.
  const taught = { takesProgress: false };
  while (!signal.aborted) {
    const kicked = kick.wait();
    try {
      const nextMs = await beat(options, taught);
      failures = 0;
      await pause(kicked, nextMs, options);
    } catch (error) {
      if (signal.aborted) return;
      if (isDismissal(error)) return options.onDismissal(error);
      if (isDecisionPending(error)) {
        await waitForDecision(options, error, failures++);
        continue;
      }
      log("warn", "heartbeat_failed", { reason: errorText(error), failures: ++failures });
      const wait = retryAfterMs(error, RETRY_AFTER_SECONDS) ?? 100;
      await clock.sleep(wait + jitteredMs(failures, RETRY), { signal });
    }
  }
}

/** The leases are with others by now; the agent stays, and goes on when a person has trusted it again. */
async function waitForDecision(
  { leases, clock, log, signal }: HeartbeatOptions,
  problem: ProblemError,
  tries: number,
): Promise<void> {
  leases.abortAll("lease_lost");
  log("error", "agent_waits", { status: problem.type, reason: problem.message });
  await clock.sleep(patienceMs(tries), { signal });
}

/** Sends one heartbeat; returns after how many milliseconds the next is due. */
async function beat(
  options: HeartbeatOptions,
  taught: { takesProgress: boolean },
): Promise<number> {
  const { controlPlane, bootId, leases, fence, clock } = options;
  const leaseIds = leases.ids();
  const sentAt = clock.now();
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
  const progress = taught.takesProgress ? leases.takeProgress().slice(0, MOST_PROGRESS) : [];
  const body = { bootId, leaseIds, ...(progress.length > 0 ? { progress } : {}) };
  const reply = await controlPlane.call(sendHeartbeat, { body }, { signal });
  taught.takesProgress = reply.progressSeconds !== undefined;
  fence.renew(sentAt, reply.ttlSeconds);
  for (const id of reply.cancel) leases.abort(id, "cancelled");
  for (const id of reply.unknown) leases.abort(id, "lease_lost");
  for (const id of leaseIds) leases.confirm(id);
  return boundedMs(reply.heartbeatSeconds, HEARTBEAT_SECONDS);
}

async function pause(kicked: Promise<void>, ms: number, options: HeartbeatOptions): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  await Promise.race([kicked, options.clock.sleep(ms, { signal })]);
  stop.abort();
}

/** Watches the fence, until `signal`: an agent that was not heard touches no device any more. */
export async function guardFence(options: HeartbeatOptions): Promise<void> {
  const { fence, leases, clock, log, signal } = options;
  while (!signal.aborted) {
    await clock.sleep(FENCE_CHECK_MS, { signal });
    if (fence.remainingMs() > 0) {
      options.sessions.hold();
      continue;
    }
    const { sessions } = leases;
    if (sessions > 0) log("error", "fenced", { leases: sessions });
    leases.abortAll("lease_lost");
    options.sessions.wipe();
  }
}
