/** Memory that both sides of a session thread see, so that a thread that is blocked can still be looked at. */
const TICKS = 0;
const SESSION = 1;
const HEAP_MIB = 2;
const ENDED = 3;
const HELD = 4;
const CELLS = 5;
/** How old the main thread's word that the fence holds may be. The fence's margin is at least twice as long. */
const HELD_MS = 1_000;

/**
 * The pulse of a session thread: how often its event loop came round, whose turn it was last, and how much memory it
 * uses. A thread that was taken over can write anything here: it can only get itself ended by that.
 */
export class Pulse {
  readonly memory: SharedArrayBuffer;
  readonly #cells: Int32Array;
  #held = 0;
  #heldAtMs = 0;
  #lookedAtMs = performance.now();

  constructor(memory = new SharedArrayBuffer(CELLS * Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#cells = new Int32Array(memory);
  }

  /** The loop came round: nobody holds it up. */
  tick(heapBytes: number): void {
    this.#isHeld();
    Atomics.store(this.#cells, HEAP_MIB, Math.min(heapBytes / 1_048_576, 2 ** 31 - 1));
    Atomics.add(this.#cells, TICKS, 1);
  }

  /** It is this session's turn; told before anything that a device can make long. */
  onTurn(sessionId: number): void {
    Atomics.store(this.#cells, SESSION, sessionId);
  }

  /** The main thread has given this thread up: whatever still runs in it may touch no device any more. */
  giveUp(): void {
    Atomics.store(this.#cells, ENDED, 1);
    Atomics.notify(this.#cells, HELD);
  }

  /** The main thread says that the agent's fence holds now. */
  hold(): void {
    Atomics.add(this.#cells, HELD, 1);
    Atomics.notify(this.#cells, HELD);
  }

  /**
   * Blocks the thread while the main thread has not said for a second that the fence holds: a process that was stopped goes on
   * in all its threads at once, and the main thread may be the last one to find out what time it is. Returns at once
   * where nobody ever said it.
   */
  untilHeld(): void {
    while (!this.isGivenUp && !this.#isHeld()) {
      Atomics.wait(this.#cells, HELD, this.#held, HELD_MS / 2);
    }
  }

  #isHeld(): boolean {
    const now = performance.now();
    const held = Atomics.load(this.#cells, HELD);
    // After a gap in which this thread itself stood still, what it finds may be as old as the gap.
    const isFresh = now - this.#lookedAtMs < HELD_MS;
    this.#lookedAtMs = now;
    if (held !== this.#held && isFresh) this.#heldAtMs = now;
    this.#held = held;
    return held === 0 || now - this.#heldAtMs < HELD_MS;
  }

  get isGivenUp(): boolean {
    return Atomics.load(this.#cells, ENDED) === 1;
  }

  get ticks(): number {
    return Atomics.load(this.#cells, TICKS);
  }

  /** Whose turn it was last; 0 before the first one. */
  get sessionId(): number {
    return Atomics.load(this.#cells, SESSION);
  }

  get heapMib(): number {
    return Atomics.load(this.#cells, HEAP_MIB);
  }
}
