import type { Kysely } from "kysely";
import type { Database } from "../database/schema.ts";
import { pause } from "../pause.ts";
import { isBefore, type Position } from "./position.ts";
import { type OutboxRow, readOutbox } from "./read_outbox.ts";

const POLL_MS = 500;
/** How many rows one look takes, and how many are kept for readers that are a little behind. */
const PAGE = 500;
const KEPT = 2_000;

export interface FeedOptions {
  /** How often to look. Default 500. */
  readonly pollMs?: number;
}

/**
 * What the outbox has had lately. While anybody waits, one query serves all the streams of this process; a stream that
 * waits holds no connection. A reader that is further behind than what is kept reads for itself.
 */
export class OutboxFeed {
  readonly #db: Kysely<Database>;
  readonly #pollMs: number;
  readonly #closed = new AbortController();
  #kept: { readonly from: Position; readonly rows: readonly OutboxRow[] } | undefined;
  #until: Position | undefined;
  #readers = 0;
  #polling: { readonly stop: AbortController; readonly ended: Promise<void> } | undefined;
  #moved = Promise.withResolvers<void>();

  constructor(db: Kysely<Database>, { pollMs = POLL_MS }: FeedOptions = {}) {
    this.#db = db;
    this.#pollMs = pollMs;
  }

  /** Once closed, there is nothing to wait for any more. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** Keeps the feed going until what is returned is called. */
  join(): () => Promise<void> {
    this.#readers++;
    this.#start();
    let left = false;
    return async () => {
      if (left) return;
      left = true;
      if (--this.#readers === 0) await this.#rest();
    };
  }

  /** What stands from a place on, as far as it has been looked: undefined when that is longer ago than what is kept. */
  since(from: Position): { rows: readonly OutboxRow[]; until: Position } | undefined {
    const kept = this.#kept;
    if (!kept || !this.#until || isBefore(from, kept.from)) return undefined;
    const rows = kept.rows.filter(({ position, ids }) =>
      isBefore(from, { ...position, taken: ids.length })
    );
    return { rows, until: this.#until };
  }

  /** Waits until there may be something after a place, for so long, or until `signal`. */
  async wait(after: Position, { ms, signal }: { ms: number; signal: AbortSignal }): Promise<void> {
    const done = new AbortController();
    const any = AbortSignal.any([signal, this.closed, done.signal]);
    const timer = pause(ms, any);
    try {
      while (!any.aborted && !(this.#until && isBefore(after, this.#until))) {
        const end = await Promise.race([this.#moved.promise, timer.then(() => "over" as const)]);
        if (end === "over") return;
      }
    } finally {
      done.abort();
      await timer;
    }
  }

  /** Lets all readers go and stops looking. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#rest();
  }

  #start(): void {
    if (this.#polling || this.closed.aborted) return;
    const stop = new AbortController();
    this.#polling = { stop, ended: this.#poll(stop.signal) };
  }

  async #rest(): Promise<void> {
    const polling = this.#polling;
    this.#polling = undefined;
    this.#kept = undefined;
    this.#until = undefined;
    polling?.stop.abort();
    await polling?.ended;
  }

  async #poll(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const isFull = await this.#look(signal);
      if (!isFull) await pause(this.#pollMs, signal);
    }
  }

  /** The database may be away for a moment: readers wait, and the next look goes on from the same place. */
  async #look(signal: AbortSignal): Promise<boolean> {
    try {
      const { rows, until } = await readOutbox(this.#db, { from: this.#until, limit: PAGE });
      if (signal.aborted) return false;
      this.#keep(rows, until);
      return rows.length === PAGE;
    } catch {
      return false;
    }
  }

  #keep(rows: readonly OutboxRow[], until: Position): void {
    const before = this.#kept ?? { from: until, rows: [] };
    const all = [...before.rows, ...rows];
    const dropped = all.slice(0, -KEPT).at(-1);
    this.#kept = {
      from: dropped ? { ...dropped.position, taken: dropped.ids.length } : before.from,
      rows: all.slice(-KEPT),
    };
    this.#until = until;
    this.#moved.resolve();
    this.#moved = Promise.withResolvers();
  }
}
