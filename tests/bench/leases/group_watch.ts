/** Counts how many jobs of each group are at work, as those who work on them see it. */
export class GroupWatch {
  readonly #limit: number;
  readonly #live = new Map<string, number>();
  violations = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** After a claim: whatever was taken before was taken no later. */
  taken(groups: readonly string[]): void {
    for (const group of groups) this.#live.set(group, (this.#live.get(group) ?? 0) + 1);
    const over = new Set(groups).values()
      .filter((group) => (this.#live.get(group) ?? 0) > this.#limit);
    this.violations += over.toArray().length;
  }

  /** Before a completion: from then on the queue may give the place to another job. */
  ending(groups: readonly string[]): void {
    for (const group of groups) this.#live.set(group, (this.#live.get(group) ?? 0) - 1);
  }
}
