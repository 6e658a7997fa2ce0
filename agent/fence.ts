import type { Clock } from "./clock.ts";

/** Stop this long before the control plane gives our leases to others. */
const MARGIN_SHARE = 0.15;
const MIN_MARGIN_MS = 2_000;

/**
 * The self-fence: until when this agent may believe that it holds its leases. It counts on the monotonic
 * clock from the moment the last answered heartbeat was *sent*, so it always ends before the server's count.
 */
export class Fence {
  readonly #clock: Clock;
  #until = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes a heartbeat that was answered. */
  renew(sentAtMs: number, ttlSeconds: number): void {
    const ttlMs = ttlSeconds * 1_000;
    const margin = Math.max(MIN_MARGIN_MS, ttlMs * MARGIN_SHARE);
    this.#until = Math.max(this.#until, sentAtMs + ttlMs - margin);
  }

  /** Milliseconds left; zero or less means: touch no device. */
  remainingMs(): number {
    return this.#until - this.#clock.now();
  }
}
