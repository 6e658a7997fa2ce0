import { ProblemError } from "@rookery/shared/problem.ts";

/** So many at once, and so many a second in the long run. */
interface Limit {
  readonly burst: number;
  readonly perSecond: number;
}

/** Of one caller at one site: a relay that passes on what people at a few hundred devices type. */
export const HINT_LIMIT: Limit = { burst: 120, perSecond: 10 };
/** Of one agent, which brings up to a hundred hints with each. */
export const BATCH_LIMIT: Limit = { burst: 20, perSecond: 1 };
/** Bounds the memory that callers can fill; who called longest ago is forgotten first. */
const MOST_KEYS = 20_000;

interface Bucket {
  readonly left: number;
  readonly atSeconds: number;
}

/** Refuses callers that say too much at a time. Kept in memory, so each replica counts for itself. */
export class HintThrottle {
  readonly #limit: Limit;
  readonly #nowSeconds: () => number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(limit: Limit, options: { readonly nowSeconds?: () => number } = {}) {
    this.#limit = limit;
    this.#nowSeconds = options.nowSeconds ?? (() => performance.now() / 1_000);
  }

  /** Counts one more of this caller; throws `too-many-requests` when it is one too many. */
  take(key: string): void {
    const { burst, perSecond } = this.#limit;
    const atSeconds = this.#nowSeconds();
    const known = this.#buckets.get(key) ?? { left: burst, atSeconds };
    const left = Math.min(burst, known.left + (atSeconds - known.atSeconds) * perSecond);
    // Deleted and set again, so that the map's order is that of last use.
    this.#buckets.delete(key);
    this.#buckets.set(key, { left: left < 1 ? left : left - 1, atSeconds });
    this.#forgetOldest();
    if (left >= 1) return;
    throw new ProblemError(
      "too-many-requests",
      `More than ${burst} hints at once, or more than ${perSecond} a second, are not taken.`,
      { retryAfterSeconds: Math.max(1, Math.ceil((1 - left) / perSecond)) },
    );
  }

  #forgetOldest(): void {
    if (this.#buckets.size <= MOST_KEYS) return;
    for (const oldest of this.#buckets.keys()) {
      this.#buckets.delete(oldest);
      return;
    }
  }
}
