/** Longer than any nonce is accepted, so that a proof is forgotten only when it is worthless anyway. */
const REMEMBER_MS = 10 * 60_000;

/**
 * Proofs that opened a session: each counts once, since a replayed one would take the session over. By the process's
 * own memory; the nonce bounds what has to be remembered.
 */
export class UsedProofs {
  #newer = new Set<string>();
  #older = new Set<string>();
  #turnAt: number;
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
    this.#turnAt = now() + REMEMBER_MS;
  }

  /** Notes the proof with this `jti`; false when it was used before. */
  take(jti: string): boolean {
    if (this.#now() >= this.#turnAt) {
      this.#older = this.#newer;
      this.#newer = new Set();
      this.#turnAt = this.#now() + REMEMBER_MS;
    }
    if (this.#newer.has(jti) || this.#older.has(jti)) return false;
    this.#newer.add(jti);
    return true;
  }
}
