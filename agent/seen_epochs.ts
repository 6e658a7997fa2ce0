/** More jobs than an agent runs in a week; the oldest are forgotten first. */
const MOST_JOBS = 100_000;

/** The highest epoch this boot has accepted of each job: a lease that comes again is refused. */
export class SeenEpochs {
  readonly #highest = new Map<string, number>();

  /** True when the epoch is newer than all that were accepted of the job, which it then is. */
  accept(jobId: string, epoch: number): boolean {
    if (epoch <= (this.#highest.get(jobId) ?? 0)) return false;
    this.#highest.delete(jobId);
    this.#highest.set(jobId, epoch);
    const [oldest] = this.#highest.keys();
    if (this.#highest.size > MOST_JOBS && oldest !== undefined) this.#highest.delete(oldest);
    return true;
  }
}
