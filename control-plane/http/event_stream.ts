/** One event as it stands on the wire; without data it only moves the place from which a reader goes on. */
export interface OutgoingEvent {
  readonly id: string;
  readonly event?: string;
  readonly data?: unknown;
}

export interface EventStreamOptions {
  /** Aborts when the caller goes away. */
  readonly signal: AbortSignal;
  /** A reader that takes nothing for this long is cut off; it comes back and goes on where it was. */
  readonly patienceMs: number;
  /** Called once, however the stream ends; whoever ends it waits for this. */
  readonly onEnd: () => Promise<void>;
}

type NextEvents = (signal: AbortSignal) => Promise<readonly OutgoingEvent[] | undefined>;

/**
 * A stream of server-sent events (WHATWG HTML, section 9.2). `next` is asked for the next ones only when the reader has
 * taken the ones before, so nothing piles up for a slow one; undefined ends the stream.
 */
export function eventStream(
  next: NextEvents,
  options: EventStreamOptions,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const source = new EventSource(next, options);
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (controller) => source.pull(controller),
    cancel: () => source.end(),
  }, { highWaterMark: 1 });
}

class EventSource {
  readonly #next: NextEvents;
  readonly #options: EventStreamOptions;
  readonly #ended = new AbortController();
  readonly #leave = () => void this.end();
  #pulling: Promise<unknown> = Promise.resolve();
  #ending: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(next: NextEvents, options: EventStreamOptions) {
    this.#next = next;
    this.#options = options;
    if (options.signal.aborted) this.#leave();
    else options.signal.addEventListener("abort", this.#leave, { once: true });
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): Promise<void> {
    clearTimeout(this.#timer);
    const events = await this.#ask();
    if (events === undefined) {
      await this.end();
      return controller.close();
    }
    controller.enqueue(new TextEncoder().encode(events.map(write).join("")));
    this.#timer = setTimeout(() => {
      void this.end();
      controller.error(new DOMException("The reader takes nothing", "TimeoutError"));
    }, this.#options.patienceMs);
  }

  /** Resolves when nothing of the stream works any more. */
  end(): Promise<void> {
    clearTimeout(this.#timer);
    return this.#ending ??= this.#end();
  }

  async #end(): Promise<void> {
    this.#options.signal.removeEventListener("abort", this.#leave);
    this.#ended.abort();
    await this.#pulling;
    await this.#options.onEnd();
  }

  async #ask(): Promise<readonly OutgoingEvent[] | undefined> {
    const { signal } = this.#ended;
    if (signal.aborted) return undefined;
    const asked = this.#next(signal);
    this.#pulling = asked.catch(() => {});
    try {
      const events = await asked;
      return signal.aborted ? undefined : events;
    } catch (error) {
      await this.end();
      throw error;
    }
  }
}

/** JSON has no line breaks of its own, and ids are ours: nothing in either can begin another field. */
function write({ id, event, data }: OutgoingEvent): string {
  const lines = [`id: ${id}`];
  if (event !== undefined) lines.push(`event: ${event}`);
  if (data !== undefined) lines.push(`data: ${JSON.stringify(data)}`);
  // A comment keeps proxies from taking a silent line for a dead one.
  else lines.unshift(": still here");
  return `${lines.join("\n")}\n\n`;
}
