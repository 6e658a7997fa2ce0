import type { Kysely } from "kysely";
import type { Database } from "../database/schema.ts";
import { countSessions } from "./store.ts";

/** The count only scales intervals of many seconds: it may be this old. */
const FRESH_MS = 10_000;

/** How many agents have a session, counted every few seconds and not at every heartbeat of each of them. */
export class SessionCount {
  readonly #db: Kysely<Database>;
  #count: Promise<number> | undefined;
  #countedAt = Number.NEGATIVE_INFINITY;

  constructor(db: Kysely<Database>) {
    this.#db = db;
  }

  get(): Promise<number> {
    const now = performance.now();
    if (this.#count && now - this.#countedAt < FRESH_MS) return this.#count;
    this.#countedAt = now;
    const count = countSessions(this.#db);
    this.#count = count;
    // A count that failed is no count: the next one who asks tries again.
    count.catch(() => {
      if (this.#count === count) this.#count = undefined;
    });
    return count;
  }
}
