import type { Log } from "./log.ts";

const MEGABYTE = 1024 * 1024;
/** Full at this share of a limit: what is being read at that moment must still find room. */
const FULL_SHARE = 0.9;
/** It has room again below this one, so that it does not go back and forth with every result. */
const ROOM_SHARE = 0.75;
/** The disk belongs to others too: this much of it is left alone, or a tenth of a small one. */
const FREE_BYTES = 64 * MEGABYTE;
const FREE_SHARE = 0.1;

export interface SpoolLimits {
  readonly maxMegabytes: number;
  readonly maxEntries: number;
}

/** What is used, and what is there. */
export interface SpoolUse {
  readonly entries: number;
  readonly bytes: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** Why the last write failed, until one succeeds. */
  readonly trouble: string | undefined;
}

/**
 * Whether a result that is read from now on will find room in the spool. While it will not, the agent claims nothing:
 * a result is never dropped for want of room.
 */
export class SpoolRoom {
  readonly #limits: SpoolLimits;
  readonly #log: Log;
  #full: string | undefined;
  #filling = new AbortController();

  constructor(limits: SpoolLimits, log: Log) {
    this.#limits = limits;
    this.#log = log;
  }

  get maxBytes(): number {
    return this.#limits.maxMegabytes * MEGABYTE;
  }

  get maxEntries(): number {
    return this.#limits.maxEntries;
  }

  /** Why there is no room; undefined while there is. */
  get full(): string | undefined {
    return this.#full;
  }

  /** Aborted when the spool becomes full: what waits for new work need not wait on. */
  get filling(): AbortSignal {
    return this.#filling.signal;
  }

  /** Looks at what is used now; says so in the log when that changes whether there is room. */
  note(use: SpoolUse): void {
    const reason = this.#reason(use, this.#full === undefined ? FULL_SHARE : ROOM_SHARE);
    const before = this.#full;
    this.#full = reason;
    const { entries, bytes } = use;
    if (reason !== undefined && before === undefined) {
      this.#filling.abort(new Error(`The spool is full: ${reason}`));
      this.#log("error", "spool_full", { reason, entries, bytes });
    } else if (reason === undefined && before !== undefined) {
      this.#filling = new AbortController();
      this.#log("info", "spool_has_room", { entries, bytes });
    }
  }

  #reason(use: SpoolUse, share: number): string | undefined {
    const keep = Math.min(FREE_BYTES, use.totalBytes * FREE_SHARE);
    if (use.trouble !== undefined) return use.trouble;
    if (use.bytes >= this.maxBytes * share) {
      return `${use.bytes} bytes wait, spool.maxMegabytes is ${this.#limits.maxMegabytes}`;
    }
    if (use.entries >= this.maxEntries * share) {
      return `${use.entries} results wait, spool.maxEntries is ${this.maxEntries}`;
    }
    return use.freeBytes < keep * FULL_SHARE / share
      ? `the disk has ${use.freeBytes} bytes left`
      : undefined;
  }
}
