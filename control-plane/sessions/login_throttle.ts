import { ProblemError } from "@rookery/shared/problem.ts";
import { DEFAULTS } from "@rookery/shared/settings/mod.ts";
import { networkOf } from "../http/address.ts";
import { canonicalUsername } from "../users/username.ts";

/** After `free` failures in a row the waiting begins; it doubles with each more, up to `longestSeconds`. */
interface Limit {
  readonly free: number;
  readonly longestSeconds: number;
}

/** What an installation may have otherwise. */
export interface LoginLimits {
  readonly "security.login_free_failures": number;
  readonly "security.login_longest_wait_seconds": number;
}

/** For one network, whatever the account: many people may share it. */
const NETWORK_FREE = 50;
/** For one account, wherever from. */
const ACCOUNT_FREE = 20;
/** Never long, or anybody could lock its owner out. */
const ACCOUNT_LONGEST_SECONDS = 60;
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
  /** Where an account has logged in from: guessers elsewhere do not hold its owner up there. */
  readonly #knownPairs = new Set<string>();

  constructor(options: { readonly nowSeconds?: () => number } = {}) {
    this.#nowSeconds = options.nowSeconds ?? (() => performance.now() / 1_000);
  }

  /**
   * Counts an attempt as failed before it is checked, so that many at once cannot slip through; throws
   * `too-many-requests` when it is too early for another.
   */
  begin(account: string, address: string, limits: LoginLimits = DEFAULTS): void {
    const { pair, network, owner } = keysOf(account, address);
    const free = limits["security.login_free_failures"];
    const longestSeconds = limits["security.login_longest_wait_seconds"];
    const wait = Math.max(
      this.#waitOf(pair, { free, longestSeconds }),
      this.#waitOf(network, { free: NETWORK_FREE, longestSeconds }),
      this.#knownPairs.has(pair) ? 0 : this.#waitOf(owner, {
        free: ACCOUNT_FREE,
        longestSeconds: Math.min(ACCOUNT_LONGEST_SECONDS, longestSeconds),
      }),
    );
    if (wait > 0) {
      throw new ProblemError("too-many-requests", "There were too many failed attempts.", {
        retryAfterSeconds: Math.ceil(wait),
      });
    }
    for (const key of [pair, network, owner]) this.#add(key);
  }

  /** Takes the attempt back: it succeeded. What network and account failed before, with others, stays. */
  succeed(account: string, address: string): void {
    const { pair } = keysOf(account, address);
    this.giveBack(account, address);
    this.#failures.delete(pair);
    this.#knownPairs.delete(pair);
    this.#knownPairs.add(pair);
    forgetOldest(this.#knownPairs);
  }

  /** Takes the attempt back: it was not checked, so nothing was learnt by it. */
  giveBack(account: string, address: string): void {
    for (const key of Object.values(keysOf(account, address))) this.#takeBack(key);
  }

  #waitOf(key: string, { free, longestSeconds }: Limit): number {
    const failures = this.#recent(key);
    if (!failures || failures.count < free) return 0;
    const wait = Math.min(2 ** (failures.count - free), longestSeconds);
    return failures.lastAtSeconds + wait - this.#nowSeconds();
  }

  #add(key: string): void {
    const count = (this.#recent(key)?.count ?? 0) + 1;
    // Deleted and set again, so that the map's order is that of last use.
    this.#failures.delete(key);
    this.#failures.set(key, { count, lastAtSeconds: this.#nowSeconds() });
    forgetOldest(this.#failures);
  }

  #takeBack(key: string): void {
    const failures = this.#recent(key);
    if (!failures || failures.count <= 1) this.#failures.delete(key);
    else this.#failures.set(key, { ...failures, count: failures.count - 1 });
  }

  #recent(key: string): Failures | undefined {
    const failures = this.#failures.get(key);
    return failures && failures.lastAtSeconds > this.#nowSeconds() - FORGET_SECONDS
      ? failures
      : undefined;
  }
}

/** What failures are counted by: an account from a network, the network, the account. */
function keysOf(account: string, address: string) {
  const name = canonicalUsername(account);
  // One household or server has a whole /64 of IPv6: its addresses are no more apart than one person's guesses.
  const from = networkOf(address);
  return { pair: `pair ${name} ${from}`, network: `network ${from}`, owner: `account ${name}` };
}

function forgetOldest(kept: Map<string, unknown> | Set<string>): void {
  for (const oldest of kept.keys()) {
    if (kept.size <= MOST_KEYS) break;
    kept.delete(oldest);
  }
}
