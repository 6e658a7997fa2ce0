import type { LeaseProgress } from "@rookery/shared/api/agent_protocol.ts";
import type { LeaseId } from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import { DeviceError } from "./ssh/ssh_failure.ts";

/**
 * `session`: a device is being spoken to, so losing the lease must stop it; `reporting`: only the result is
 * on its way, which is welcome late as well.
 */
type Phase = "session" | "reporting";

/** As many as a heartbeat may name. */
const MAX_NAMED = 256;

interface RunningLease {
  readonly controller: AbortController;
  readonly confirmation: PromiseWithResolvers<void>;
  readonly finished: Promise<void>;
  phase: Phase;
  /** What was not told yet of how far it is. */
  progress?: Omit<LeaseProgress, "leaseId"> | undefined;
}

/** A lease as its work sees it. */
export interface HeldLease {
  /** Aborted with a DeviceError that says why the session must end. */
  readonly signal: AbortSignal;
  /** Resolves when the control plane knows that the lease is worked on, and will give it to nobody else. */
  readonly confirmed: Promise<void>;
  /** Says how far the session is; the next heartbeat tells it. */
  progress(step: string, percent: number): void;
  /** To be called when the device is done with and only the result is on its way. */
  reporting(): void;
}

/** The leases this agent works on, and the ways to stop them. */
export class RunningLeases {
  readonly #running = new Map<LeaseId, RunningLease>();
  readonly #alsoHeld: () => readonly LeaseId[];
  #changed = Promise.withResolvers<void>();

  /** `alsoHeld`: leases that are worked on elsewhere, their results being on their way. */
  constructor({ alsoHeld = () => [] }: { alsoHeld?: () => readonly LeaseId[] } = {}) {
    this.#alsoHeld = alsoHeld;
  }

  get size(): number {
    return this.#running.size;
  }

  /** Every lease that this agent has not done with, as heartbeats name them. */
  ids(): LeaseId[] {
    return [...new Set([...this.#running.keys(), ...this.#alsoHeld()])].slice(0, MAX_NAMED);
  }

  /**
   * Runs `work` under a lease; it is listed until its promise settles, and may not reject. A lease that runs already is
   * left alone: granted twice, it would otherwise be answered twice and lose its abort.
   */
  start(
    id: LeaseId,
    work: (lease: HeldLease) => Promise<void>,
  ): void {
    if (this.#running.has(id)) return;
    const controller = new AbortController();
    const confirmation = Promise.withResolvers<void>();
    const held: HeldLease = {
      signal: controller.signal,
      confirmed: confirmation.promise,
      progress: (step, percent) => this.#setProgress(id, { step, percent }),
      reporting: () => this.#setReporting(id),
    };
    const finished = this.#run(id, held, work);
    this.#running.set(id, { controller, confirmation, finished, phase: "session" });
    this.#wake();
  }

  async #run(
    id: LeaseId,
    held: HeldLease,
    work: (lease: HeldLease) => Promise<void>,
  ): Promise<void> {
    // Started a turn later, so that the lease is listed before its work begins.
    await Promise.resolve();
    try {
      await work(held);
    } finally {
      this.#running.delete(id);
      this.#wake();
    }
  }

  #setProgress(id: LeaseId, progress: Omit<LeaseProgress, "leaseId">): void {
    const lease = this.#running.get(id);
    if (lease) lease.progress = progress;
  }

  /** How far the sessions are, as far as it was not taken before. */
  takeProgress(): LeaseProgress[] {
    return [...this.#running].flatMap(([leaseId, lease]) => {
      const { progress } = lease;
      lease.progress = undefined;
      return progress ? [{ leaseId, ...progress }] : [];
    });
  }

  #setReporting(id: LeaseId): void {
    const lease = this.#running.get(id);
    if (lease) lease.phase = "reporting";
  }

  /** Notes that a heartbeat that named the lease was answered: from now on it counts as started. */
  confirm(id: LeaseId): void {
    this.#running.get(id)?.confirmation.resolve();
  }

  /** How many still speak to a device, or are about to. */
  get sessions(): number {
    return [...this.#running.values()].filter(({ phase }) => phase === "session").length;
  }

  /** Stops the device session of a lease; one that only reports is left alone. */
  abort(id: LeaseId, code: FailureCode): void {
    const lease = this.#running.get(id);
    if (lease?.phase === "session") lease.controller.abort(new DeviceError(code));
  }

  abortAll(code: FailureCode): void {
    for (const id of this.#running.keys()) this.abort(id, code);
  }

  /** Resolves when a lease starts or ends. */
  changed(): Promise<void> {
    return this.#changed.promise;
  }

  /** Resolves when no lease is left. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#running.values()].map((lease) => lease.finished));
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
