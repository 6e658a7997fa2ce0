import { ProblemError } from "@rookery/shared/problem.ts";

export interface StreamLimits {
  readonly perPerson: number;
  readonly total: number;
}

const DEFAULT_LIMITS: StreamLimits = { perPerson: 20, total: 1_000 };
const RETRY_SECONDS = 30;

/** How many streams of events people hold open at this replica. */
export class StreamSlots {
  readonly #limits: StreamLimits;
  readonly #open = new Map<string, number>();
  #total = 0;

  constructor(limits: StreamLimits = DEFAULT_LIMITS) {
    this.#limits = limits;
  }

  /** Takes a slot, or throws `too-many-requests`; what is returned gives it back. */
  enter(person: string): () => void {
    const open = this.#open.get(person) ?? 0;
    const { perPerson, total } = this.#limits;
    if (open >= perPerson) {
      throw refusal(`You hold ${open} streams of events open; end some first.`);
    }
    if (this.#total >= total) throw refusal("There are too many streams of events.");
    this.#add(person, 1);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#add(person, -1);
    };
  }

  #add(person: string, count: number): void {
    this.#total += count;
    const open = (this.#open.get(person) ?? 0) + count;
    if (open > 0) this.#open.set(person, open);
    else this.#open.delete(person);
  }
}

function refusal(detail: string): ProblemError {
  return new ProblemError("too-many-requests", detail, { retryAfterSeconds: RETRY_SECONDS });
}
