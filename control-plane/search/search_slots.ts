import { ProblemError } from "@rookery/shared/problem.ts";

const MOST = 3;
const RETRY_SECONDS = 5;

/** How many searches run at this replica: each may hold a database connection for seconds, which agents need as well. */
export class SearchSlots {
  #taken = 0;

  /** Runs a search, or throws `too-many-requests`. */
  async run<T>(search: () => Promise<T>): Promise<T> {
    if (this.#taken >= MOST) {
      throw new ProblemError("too-many-requests", `${MOST} searches are under way.`, {
        retryAfterSeconds: RETRY_SECONDS,
      });
    }
    this.#taken++;
    try {
      return await search();
    } finally {
      this.#taken--;
    }
  }
}
