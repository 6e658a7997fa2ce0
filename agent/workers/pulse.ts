/** Memory that both sides of a session thread see, so that a thread that is blocked can still be looked at. */
const TICKS = 0;
const SESSION = 1;
const HEAP_MIB = 2;
const ENDED = 3;
const CELLS = 4;

/**
 * The pulse of a session thread: how often its event loop came round, whose turn it was last, and how much memory it
 * uses. A thread that was taken over can write anything here: it can only get itself ended by that.
 */
export class Pulse {
  readonly memory: SharedArrayBuffer;
  readonly #cells: Int32Array;

  constructor(memory = new SharedArrayBuffer(CELLS * Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#cells = new Int32Array(memory);
  }

  /** The loop came round: nobody holds it up. */
  tick(heapBytes: number): void {
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
