import type { LeaseId } from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import { DeviceError } from "./ssh/ssh_failure.ts";

/**
 * `session`: a device is being spoken to, so losing the lease must stop it; `reporting`: only the result is
 * on its way, which is welcome late as well.
 */
type Phase = "session" | "reporting";

interface RunningLease {
  readonly controller: AbortController;
  readonly finished: Promise<void>;
  phase: Phase;
}

/** The leases this agent works on, and the ways to stop them. */
export class RunningLeases {
  readonly #running = new Map<LeaseId, RunningLease>();
  #changed = Promise.withResolvers<void>();

  get size(): number {
    return this.#running.size;
  }

  ids(): LeaseId[] {
    return [...this.#running.keys()];
  }

  /**
   * Runs `work` under a lease; it is listed until its promise settles, and may not reject. A lease that runs already is
   * left alone: granted twice, it would otherwise be answered twice and lose its abort.
   */
  start(
    id: LeaseId,
    work: (lease: { signal: AbortSignal; reporting: () => void }) => Promise<void>,
  ): void {
    if (this.#running.has(id)) return;
    const controller = new AbortController();
    const lease: RunningLease = {
      controller,
      finished: this.#run(id, controller, work),
      phase: "session",
    };
    this.#running.set(id, lease);
    this.#wake();
  }

  async #run(
    id: LeaseId,
    controller: AbortController,
    work: (lease: { signal: AbortSignal; reporting: () => void }) => Promise<void>,
  ): Promise<void> {
    // Started a turn later, so that the lease is listed before its work begins.
    await Promise.resolve();
    try {
      await work({ signal: controller.signal, reporting: () => this.#setReporting(id) });
    } finally {
      this.#running.delete(id);
      this.#wake();
    }
  }

  #setReporting(id: LeaseId): void {
    const lease = this.#running.get(id);
    if (lease) lease.phase = "reporting";
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
