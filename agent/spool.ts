import { join } from "node:path";
import type { LeaseId, Sha256 } from "@rookery/shared/ids.ts";
import type { Delivery } from "./deliver.ts";
import { errorText, type Log } from "./log.ts";
import type { SealingKey } from "./key_chain.ts";
import { sealCapture, sealResult } from "./seal_report.ts";
import {
  entryName,
  entryNumber,
  entryOf,
  HEAD_BYTES,
  readHead,
  type SealedPart,
  type SpoolContents,
  SpoolDamagedError,
  type SpoolEntry,
  SpoolReadError,
  writeEntry,
} from "./spool_entry.ts";
import type { SpoolFiles } from "./spool_files.ts";
import { type SpoolLimits, SpoolRoom } from "./spool_room.ts";

/** Entries that the control plane refused for good are kept for people to look into, this many of them. */
const MAX_REFUSED = 20;
/** How often a disk whose free room is not known is tried, so that it is known to be full before a result comes. */
const PROBE_MS = 60_000;
const PROBE_BYTES = 65_536;

export interface SpoolOptions {
  readonly folder: string;
  readonly limits: SpoolLimits;
  readonly files: SpoolFiles;
  readonly log: Log;
  /** The control plane's key of this moment: it may be rotated while the agent runs. */
  readonly sealingKey: () => SealingKey;
}

/** What an agent tells of its spool. */
export interface SpoolFigures {
  readonly entries: number;
  readonly bytes: number;
  /** Why nothing is claimed, or undefined. */
  readonly full: string | undefined;
}

interface Held {
  readonly entry: SpoolEntry;
  /** `direct`: its content is in memory too and being delivered from there; `waiting`: for the replay; `replaying`. */
  state: "direct" | "waiting" | "replaying";
  dueAtMs: number;
  /** Spooled by this boot, so that its lease may still be held. */
  readonly own: boolean;
}

/**
 * Results that are not delivered yet, on disk: each whole or not at all, each sealed to the control plane, so that nothing
 * here opens it. An entry goes when its answer is final. Survives restarts and power cuts.
 */
export class Spool {
  readonly #options: SpoolOptions;
  readonly #held = new Map<string, Held>();
  readonly #room: SpoolRoom;
  #number = 0;
  #writing = 0;
  #trouble: string | undefined;
  #probedAtMs = -Infinity;
  /** As much as found no room the last time. */
  #probeBytes = PROBE_BYTES;
  #changed = Promise.withResolvers<void>();

  private constructor(options: SpoolOptions) {
    this.#options = options;
    this.#room = new SpoolRoom(options.limits, options.log);
  }

  /** Opens the folder and finds what earlier boots left; what they did not finish writing is removed. */
  static async open(options: SpoolOptions): Promise<Spool> {
    const spool = new Spool(options);
    const { files, folder } = options;
    await files.makeFolder(folder);
    for (const file of (await files.list(folder)).toSorted(byName)) {
      const entry = entryOf(file);
      if (entry) spool.#hold(entry, { state: "waiting", own: false });
      else if (file.name.endsWith(".tmp")) await files.remove(join(folder, file.name));
    }
    await spool.check();
    return spool;
  }

  get figures(): SpoolFigures {
    return { entries: this.#held.size, bytes: this.#bytes, full: this.#room.full };
  }

  /** Aborted when there is no more room. */
  get filling(): AbortSignal {
    return this.#room.filling;
  }

  /** Leases of this boot whose results wait here: the control plane is told that they are not forgotten. */
  ownLeaseIds(): LeaseId[] {
    return [...this.#held.values()].filter(({ own }) => own).map(({ entry }) => entry.leaseId);
  }

  /** Looks whether there is room; after a failed write by trying again. */
  async check(): Promise<boolean> {
    const { files, folder } = this.#options;
    try {
      const space = await files.space(folder);
      if (this.#trouble !== undefined || this.#mustProbe(space)) await this.#probe();
      this.#note(space);
    } catch (error) {
      this.#trouble = errorText(error);
      this.#note({ freeBytes: 0, totalBytes: 0 });
    }
    return this.#room.full === undefined;
  }

  /**
   * Keeps a result until `remove` or `setAside`. It is on disk when this returns; when it throws nothing is, and the agent
   * is told to claim nothing until it can write again.
   */
  async put({ leaseId, result, uploads }: Delivery): Promise<SpoolEntry> {
    const key = this.#options.sealingKey();
    const captures: { sha256: Sha256; jwe: string }[] = [];
    for (const upload of uploads) {
      const sha256 = upload.sha256 as Sha256;
      const jwe = await sealCapture(key, { leaseId, sha256, bytes: upload.bytes });
      captures.push({ sha256, jwe });
    }
    const pieces = writeEntry(leaseId, captures, await sealResult(key, { leaseId, result }));
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const entry = { name: entryName(++this.#number, leaseId), leaseId, bytes };
    try {
      await this.#write(entry, pieces);
      this.#hold(entry, { state: "direct", own: true });
    } finally {
      await this.check();
    }
    return entry;
  }

  /** Leaves an entry to the replay. */
  handOver(entry: SpoolEntry, { dueAtMs }: { dueAtMs: number } = { dueAtMs: 0 }): void {
    const held = this.#held.get(entry.name);
    if (!held) return;
    held.state = "waiting";
    held.dueAtMs = dueAtMs;
    this.#wake();
  }

  /** The oldest entry that waits and is due, for one caller alone until `handOver`, `remove` or `setAside`. */
  takeOldest(nowMs: number): SpoolEntry | undefined {
    for (const held of this.#held.values()) {
      if (held.state !== "waiting" || held.dueAtMs > nowMs) continue;
      held.state = "replaying";
      return held.entry;
    }
    return undefined;
  }

  /** When the next entry that waits is due, in the clock's milliseconds; undefined when none waits. */
  nextDueAtMs(): number | undefined {
    const due = [...this.#held.values()].filter(({ state }) => state === "waiting")
      .map(({ dueAtMs }) => dueAtMs);
    return due.length === 0 ? undefined : Math.min(...due);
  }

  /** What an entry holds; a SpoolDamagedError when its file is not what was written. */
  async contents(entry: SpoolEntry): Promise<SpoolContents> {
    const range = { at: 0, bytes: Math.min(HEAD_BYTES, entry.bytes) };
    return readHead(entry, await this.#read(entry, range));
  }

  /** One sealed part of an entry. */
  async read(entry: SpoolEntry, part: SealedPart): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await this.#read(entry, part));
  }

  /** Forgets an entry whose answer is final. Should a power cut bring it back, it gets the same answer again. */
  async remove(entry: SpoolEntry): Promise<void> {
    try {
      await this.#options.files.remove(this.#path(entry));
    } finally {
      this.#forget(entry);
    }
  }

  /** Takes an entry out that can never be delivered, and keeps the newest of those for people to look into. */
  async setAside(entry: SpoolEntry): Promise<void> {
    const { files, folder } = this.#options;
    const aside = join(folder, "refused");
    try {
      await files.makeFolder(aside);
      await files.rename(this.#path(entry), join(aside, entry.name));
    } finally {
      this.#forget(entry);
    }
    const kept = (await files.list(aside)).toSorted(byName);
    for (const { name } of tooMany(kept, this.#room.maxBytes)) {
      await files.remove(join(aside, name));
    }
  }

  /** Resolves when something came or went. */
  changed(): Promise<void> {
    return this.#changed.promise;
  }

  async #read(entry: SpoolEntry, range: SealedPart): Promise<Uint8Array> {
    try {
      return await this.#options.files.read(this.#path(entry), range);
    } catch (cause) {
      const why = `Cannot read ${entry.name}: ${errorText(cause)}`;
      throw cause instanceof Deno.errors.NotFound
        ? new SpoolDamagedError(why, { cause })
        : new SpoolReadError(why, { cause });
    }
  }

  get #bytes(): number {
    return this.#held.values().reduce((sum, { entry }) => sum + entry.bytes, this.#writing);
  }

  /** Written beside its place, then moved there: on disk in this order, so that no power cut leaves half of it. */
  async #write(entry: SpoolEntry, pieces: readonly Uint8Array[]): Promise<void> {
    const { files, folder } = this.#options;
    const unfinished = `${this.#path(entry)}.tmp`;
    this.#refuseTooMuch(entry);
    this.#writing += entry.bytes;
    try {
      await files.write(unfinished, pieces);
      await files.sync(unfinished);
      await files.rename(unfinished, this.#path(entry));
      await files.sync(folder);
      this.#trouble = undefined;
    } catch (error) {
      this.#trouble = errorText(error);
      this.#probeBytes = Math.max(this.#probeBytes, entry.bytes);
      await files.remove(unfinished).catch(() => {});
      await files.remove(this.#path(entry)).catch(() => {});
      throw error;
    } finally {
      this.#writing -= entry.bytes;
    }
  }

  #refuseTooMuch({ bytes }: SpoolEntry): void {
    if (this.#bytes + bytes <= this.#room.maxBytes && this.#held.size < this.#room.maxEntries) {
      return;
    }
    throw new Error(`Cannot keep ${bytes} bytes: the spool has its limit of bytes or entries`);
  }

  /** Where nobody tells how much room there is, only writing does. */
  #mustProbe({ freeBytes }: { freeBytes: number }): boolean {
    return !Number.isFinite(freeBytes) && performance.now() - this.#probedAtMs > PROBE_MS;
  }

  async #probe(): Promise<void> {
    this.#probedAtMs = performance.now();
    const { files, folder } = this.#options;
    const path = join(folder, "probe.tmp");
    try {
      await files.write(path, [new Uint8Array(this.#probeBytes)]);
      await files.sync(path);
      this.#trouble = undefined;
      this.#probeBytes = PROBE_BYTES;
    } finally {
      await files.remove(path).catch(() => {});
    }
  }

  #note(space: { freeBytes: number; totalBytes: number }): void {
    const { entries, bytes } = this.figures;
    this.#room.note({ ...space, entries, bytes, trouble: this.#trouble });
  }

  #hold(entry: SpoolEntry, { state, own }: Pick<Held, "state" | "own">): void {
    this.#number = Math.max(this.#number, entryNumber(entry.name));
    this.#held.set(entry.name, { entry, state, own, dueAtMs: 0 });
    this.#wake();
  }

  #forget(entry: SpoolEntry): void {
    this.#held.delete(entry.name);
    this.#wake();
  }

  #path({ name }: SpoolEntry): string {
    return join(this.#options.folder, name);
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

function byName(left: { name: string }, right: { name: string }): number {
  return left.name < right.name ? -1 : 1;
}

/** The oldest files beyond the number that is kept, or beyond a tenth of the bytes of the spool. */
function tooMany(files: readonly { name: string; bytes: number }[], maxBytes: number) {
  let bytes = 0;
  return files.toReversed().filter((file, index) => {
    bytes += file.bytes;
    return index >= MAX_REFUSED || (index > 0 && bytes > maxBytes / 10);
  });
}
