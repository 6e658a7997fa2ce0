import { ProblemError } from "@rookery/shared/problem.ts";

/** After this many failures in a row the waiting begins: for one account from one address. */
const FREE_FAILURES = 5;
/** For one address, whatever the account: many may share it. */
const FREE_FAILURES_OF_ADDRESS = 50;
const LONGEST_WAIT_SECONDS = 900;
/** Who has not failed for this long begins anew. */
const FORGET_SECONDS = 1_800;
/** Bounds the memory that an attacker can fill; the oldest are forgotten first. */
const MOST_KEYS = 20_000;

interface Failures {
  readonly count: number;
  readonly lastAtSeconds: number;
}

/** Slows guessing down: the wait doubles with every failure. Kept in memory, so each replica counts for itself. */
export class LoginThrottle {
  readonly #nowSeconds: () => number;
  readonly #failures = new Map<string, Failures>();

  constructor(options: { readonly nowSeconds?: () => number } = {}) {
    this.#nowSeconds = options.nowSeconds ?? (() => performance.now() / 1_000);
  }

  /**
   * Counts an attempt as failed before it is checked, so that many at once cannot slip through; throws
   * `too-many-requests` when it is too early for another.
   */
  begin(account: string, address: string): void {
    const waits = this.#keysOf(account, address).map(({ key, free }) => this.#waitOf(key, free));
    const retryAfterSeconds = Math.ceil(Math.max(...waits));
    if (retryAfterSeconds > 0) {
      throw new ProblemError("too-many-requests", "There were too many failed attempts.", {
        retryAfterSeconds,
      });
    }
    for (const { key } of this.#keysOf(account, address)) this.#add(key, 1);
  }

  /** Takes the attempt back: it succeeded. What the address failed before, with other accounts, stays. */
  succeed(account: string, address: string): void {
    const [pair, own] = this.#keysOf(account, address);
    this.#failures.delete(pair.key);
    this.#add(own.key, -1);
  }

  #keysOf(account: string, address: string) {
    return [
      { key: `pair ${account.toLowerCase()} ${address}`, free: FREE_FAILURES },
      { key: `address ${address}`, free: FREE_FAILURES_OF_ADDRESS },
    ] as const;
  }

  #waitOf(key: string, free: number): number {
    const failures = this.#recent(key);
    if (!failures || failures.count < free) return 0;
    const wait = Math.min(2 ** (failures.count - free), LONGEST_WAIT_SECONDS);
    return failures.lastAtSeconds + wait - this.#nowSeconds();
  }

  #add(key: string, by: 1 | -1): void {
    const count = Math.max(0, (this.#recent(key)?.count ?? 0) + by);
    // Deleted and set again, so that the map's order is that of last use.
    this.#failures.delete(key);
    if (count > 0) this.#failures.set(key, { count, lastAtSeconds: this.#nowSeconds() });
    for (const oldest of this.#failures.keys()) {
      if (this.#failures.size <= MOST_KEYS) break;
      this.#failures.delete(oldest);
    }
  }

  #recent(key: string): Failures | undefined {
    const failures = this.#failures.get(key);
    return failures && failures.lastAtSeconds > this.#nowSeconds() - FORGET_SECONDS
      ? failures
      : undefined;
  }
}
