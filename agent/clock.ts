/** The one source of time in the agent. Monotonic: a stepped wall clock neither fences nor frees it. */
export interface Clock {
  /** Milliseconds since some start, never going back. */
  now(): number;
  /** Resolves after `ms`, or at once (without an error) when `signal` is aborted. */
  sleep(ms: number, options: { signal: AbortSignal }): Promise<void>;
}

const MAX_TIMER_MS = 2 ** 31 - 1;

/** The process's own monotonic clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  sleep(ms, { signal }) {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      // A longer timer would overflow and fire at once.
      const timer = setTimeout(finish, Math.min(ms, MAX_TIMER_MS));
      signal.addEventListener("abort", finish, { once: true });
      function finish() {
        clearTimeout(timer);
        signal.removeEventListener("abort", finish);
        resolve();
      }
    });
  },
};

/** A number of seconds that somebody else named, within limits and in milliseconds; the lower limit where it is none. */
export function boundedMs(seconds: number, limits: { min: number; max: number }): number {
  const bounded = Math.min(limits.max, Math.max(limits.min, seconds));
  return (Number.isFinite(seconds) ? bounded : limits.min) * 1_000;
}

/** A delay with full jitter before try number `attempt` (from 0): base × 2^attempt, capped. */
export function jitteredMs(attempt: number, limits: { baseMs: number; capMs: number }): number {
  return Math.random() * Math.min(limits.capMs, limits.baseMs * 2 ** Math.min(attempt, 20));
}
