import type { Kysely } from "kysely";
import type { Database } from "../database/schema.ts";
import type { Scope, UserCaller } from "../http/caller.ts";
import { eventStream, type OutgoingEvent } from "../http/event_stream.ts";
import type { FeedOptions, OutboxFeed } from "./feed.ts";
import { isBefore, type Position, readPosition, writePosition } from "./position.ts";
import { endOf, type OutboxRow, readOutbox } from "./read_outbox.ts";
import type { StreamSlots } from "./stream_slots.ts";

const BEAT_MS = 15_000;
const PATIENCE_MS = 60_000;
/** How many events go out in one piece. */
const PIECE = 200;
const PAGE = 500;

export interface StreamServices {
  readonly db: Kysely<Database>;
  readonly incarnation: number;
  readonly feed: OutboxFeed;
  readonly streamSlots: StreamSlots;
  /** The caller as they are now; undefined once their session is over or their token revoked. */
  readonly callerNow: (caller: UserCaller) => Promise<UserCaller | undefined>;
  readonly streamTimes?: StreamTimes;
}

export interface StreamTimes extends FeedOptions {
  /** How often a silent stream says that it is there, and every stream asks whether its caller may still listen. */
  readonly beatMs?: number;
  /** How long a reader may take nothing. */
  readonly patienceMs?: number;
}

export interface StreamOrder {
  readonly caller: UserCaller;
  /** How far that caller may see by now. */
  readonly scopeOf: (caller: UserCaller) => Scope;
  /** The value of `Last-Event-ID`. */
  readonly lastEventId: string | null;
  readonly signal: AbortSignal;
  /** What the caller is told of one change of a row; undefined when it does not concern them. */
  readonly view: (row: OutboxRow, index: number, scope: Scope) => object | undefined;
}

/**
 * Opens a stream of what changes from now on, or from where the caller was. Its first event is `hello`, or `reset` when the
 * caller was away for too long: then it has to read anew what it shows. Ends when the caller may listen no longer.
 */
export function openStream(
  services: StreamServices,
  order: StreamOrder,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const leave = services.streamSlots.enter(order.caller.userId);
  const rest = services.feed.join();
  const reader = new StreamReader(services, order);
  return eventStream((signal) => reader.next(signal), {
    signal: order.signal,
    patienceMs: services.streamTimes?.patienceMs ?? PATIENCE_MS,
    onEnd: async () => {
      leave();
      await rest();
    },
  });
}

/** Where one stream is. */
class StreamReader {
  readonly #services: StreamServices;
  readonly #order: StreamOrder;
  readonly #beatMs: number;
  #caller: UserCaller;
  #position: Position | undefined;
  #beatAt: number;

  constructor(services: StreamServices, order: StreamOrder) {
    this.#services = services;
    this.#order = order;
    this.#beatMs = services.streamTimes?.beatMs ?? BEAT_MS;
    this.#caller = order.caller;
    this.#beatAt = performance.now() + this.#beatMs;
  }

  /** The next events; undefined when the stream is over. */
  async next(signal: AbortSignal): Promise<readonly OutgoingEvent[] | undefined> {
    if (!this.#position) return [await this.#begin()];
    while (!signal.aborted && !this.#services.feed.closed.aborted) {
      const isBeat = performance.now() >= this.#beatAt;
      if (isBeat && !await this.#checkCaller()) return undefined;
      const events = await this.#read(this.#position);
      if (events.length > 0) return events;
      if (isBeat) return [{ id: this.#idOf(this.#position) }];
      const ms = Math.max(0, this.#beatAt - performance.now());
      await this.#services.feed.wait(this.#position, { ms, signal });
    }
    return undefined;
  }

  async #begin(): Promise<OutgoingEvent> {
    const { db, incarnation } = this.#services;
    const { lastEventId } = this.#order;
    const { until, floor } = await readOutbox(db, { from: undefined, limit: 0 });
    const asked = lastEventId === null ? until : readPosition(lastEventId, incarnation);
    const isThere = asked && !isBefore(asked, floor) && !isBefore(until, asked);
    this.#position = isThere ? asked : until;
    return { id: this.#idOf(this.#position), event: isThere ? "hello" : "reset", data: {} };
  }

  async #checkCaller(): Promise<boolean> {
    this.#beatAt = performance.now() + this.#beatMs;
    const caller = await this.#services.callerNow(this.#caller);
    if (caller) this.#caller = caller;
    return caller !== undefined;
  }

  async #read(from: Position): Promise<readonly OutgoingEvent[]> {
    const { feed, db } = this.#services;
    const page = feed.since(from) ?? await readOutbox(db, { from, limit: PAGE });
    if ("floor" in page && isBefore(from, page.floor)) return [await this.#reset()];
    const events: OutgoingEvent[] = [];
    for (const row of page.rows) {
      this.#take(row, events);
      // The row may go on: the next piece begins where this one ends.
      if (events.length >= PIECE) return events;
    }
    this.#position = page.until;
    return events;
  }

  /** Adds what concerns the caller, as far as it fits into a piece. */
  #take(row: OutboxRow, events: OutgoingEvent[]): void {
    const scope = this.#order.scopeOf(this.#caller);
    for (let index = this.#takenOf(row); index < row.ids.length; index++) {
      if (events.length >= PIECE) return;
      this.#position = { ...row.position, taken: index + 1 };
      const data = this.#order.view(row, index, scope);
      if (data) events.push({ id: this.#idOf(this.#position), event: "change", data });
    }
    if (events.length < PIECE) this.#position = endOf(row);
  }

  #takenOf({ position: { xid, id } }: OutboxRow): number {
    const here = this.#position;
    return here?.xid === xid && here.id === id ? here.taken : 0;
  }

  async #reset(): Promise<OutgoingEvent> {
    this.#position = (await readOutbox(this.#services.db, { from: undefined, limit: 0 })).until;
    return { id: this.#idOf(this.#position), event: "reset", data: {} };
  }

  #idOf(position: Position): string {
    return writePosition(position, this.#services.incarnation);
  }
}
