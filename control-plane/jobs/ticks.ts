/** When each part of the upkeep of this replica last ended well, for its readiness probe. */
export class Ticks {
  readonly #parts = new Map<string, { endedAt: number; readonly lateMs: number }>();

  /** From now on it is expected to end well at least every `lateMs`. */
  begin(name: string, lateMs: number): void {
    this.#parts.set(name, { endedAt: performance.now(), lateMs });
  }

  /** It ended well. */
  note(name: string): void {
    const part = this.#parts.get(name);
    if (part) part.endedAt = performance.now();
  }

  /** Nothing is expected of it any more. */
  stop(name: string): void {
    this.#parts.delete(name);
  }

  /** What has not ended well for too long. */
  get late(): readonly string[] {
    const now = performance.now();
    return [...this.#parts].filter(([, { endedAt, lateMs }]) => now - endedAt > lateMs)
      .map(([name]) => name);
  }
}
