import type { Kysely } from "kysely";
import { isDatabaseAway } from "../database/away.ts";
import type { Database } from "../database/schema.ts";
import type { Log } from "../http/log.ts";
import { pause } from "../pause.ts";
import { loadKeyRing } from "./key_ring.ts";
import type { LiveKeyRing } from "./live_key_ring.ts";
import { readGeneration, settleKeys } from "./same_keys.ts";

const CHECK_MS = 2_000;
/** A file system may show a new file a moment late: the first look in vain is not the end. */
const LOOKS_BEFORE_STALE = 2;
/** While something is wrong it is said again, for whoever reads only the end of a log. */
const LOOKS_BETWEEN_COMPLAINTS = 30;

export interface WatchedKeys {
  readonly db: Kysely<Database>;
  readonly keyRing: LiveKeyRing;
  readonly path: string;
  readonly log: Log;
}

/**
 * Keeps the keys of a running replica the newest, until `signal`: reads the key file again when it changes or when the
 * database says that the keys were rotated. A replica that cannot read them says so, and stops signing and sealing.
 */
export async function watchKeys(
  watched: WatchedKeys,
  { signal, checkMs = CHECK_MS }: { readonly signal: AbortSignal; readonly checkMs?: number },
): Promise<void> {
  const watch = new KeyWatch(watched);
  await pause(checkMs, signal);
  while (!signal.aborted) {
    await watch.look();
    await pause(checkMs, signal);
  }
}

/** What is remembered between two looks at the key file. */
export class KeyWatch {
  readonly #watched: WatchedKeys;
  #seen: string | undefined;
  #inVain = 0;

  constructor(watched: WatchedKeys) {
    this.#watched = watched;
  }

  async look(): Promise<void> {
    const { db, keyRing, path } = this.#watched;
    try {
      const stamp = await stampOf(path);
      const isBehind = await readGeneration(db) !== keyRing.generation;
      // At a file that could not be used it looks again: somebody may have mended its mode.
      if (stamp === this.#seen && !isBehind && this.#inVain === 0) return;
      const trouble = await this.#readAgain();
      this.#seen = stamp;
      this.#note(trouble, await readGeneration(db) !== keyRing.generation);
    } catch (error) {
      // What is in force is not known, and nothing can be granted either.
      if (!isDatabaseAway(error)) this.#note(messageOf(error), false);
    }
  }

  /** Reads the file and takes its keys when they are the installation's; says what is wrong otherwise. */
  async #readAgain(): Promise<string | undefined> {
    const { db, keyRing, path, log } = this.#watched;
    try {
      const fresh = await loadKeyRing(path, { create: false });
      const difference = await settleKeys(db, fresh);
      if (difference !== undefined) return difference;
      if (fresh.generation !== keyRing.generation) {
        log({ level: "info", message: "New keys in use", generation: fresh.generation });
      }
      keyRing.replace(fresh);
      return undefined;
    } catch (error) {
      if (isDatabaseAway(error)) throw error;
      return messageOf(error);
    }
  }

  #note(trouble: string | undefined, isBehind: boolean): void {
    const { keyRing, log, path } = this.#watched;
    if (trouble === undefined) {
      this.#inVain = 0;
      return;
    }
    if (isBehind && ++this.#inVain >= LOOKS_BEFORE_STALE) keyRing.stale = true;
    else if (!isBehind) this.#inVain++;
    if (this.#inVain % LOOKS_BETWEEN_COMPLAINTS > LOOKS_BEFORE_STALE) return;
    const message = keyRing.stale
      ? "This replica signs and seals nothing: its keys are out of date"
      : "The key file cannot be used; the keys in memory still are";
    log({ level: "error", message, path, reason: trouble });
  }
}

/** Changes whenever the file is replaced or written, or its mode is. */
async function stampOf(path: string): Promise<string> {
  try {
    const { ino, size, mtime, mode } = await Deno.stat(path);
    return [ino, size, mtime?.getTime(), mode].join(" ");
  } catch (error) {
    return messageOf(error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
