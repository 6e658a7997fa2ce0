/** A disk whose power can be cut: what was not synced is gone, or half there. */
import type { SpoolFiles } from "../../agent/spool_files.ts";

interface Inode {
  content: Uint8Array;
  synced: Uint8Array;
}

/**
 * Keeps files in memory as a file system keeps them in its cache. After `cut()` it shows what a disk would: names as they
 * were when their folder was last synced (or the newest ones: a file system may write them at any time), and of each
 * file's content that was not synced a part.
 */
export class CrashDisk {
  readonly #inodes = new Map<string, Inode>();
  #durable = new Map<string, Inode>();
  readonly operations: string[] = [];
  /** The power is cut before the operation of this number, counted from 0. */
  cutBefore = Infinity;

  readonly files: SpoolFiles = {
    makeFolder: () => Promise.resolve(),
    list: () =>
      Promise.resolve(
        [...this.#inodes].map(([path, { content }]) => ({
          name: path.split("/").at(-1) ?? "",
          bytes: content.length,
        })),
      ),
    write: (path, pieces) =>
      this.#do("write", () => {
        const content = new Uint8Array(pieces.flatMap((piece) => [...piece]));
        this.#inodes.set(path, { content, synced: new Uint8Array() });
      }),
    sync: (path) =>
      this.#do("sync", () => {
        const inode = this.#inodes.get(path);
        if (inode) inode.synced = inode.content;
        else this.#durable = new Map(this.#inodes);
      }),
    rename: (from, to) =>
      this.#do("rename", () => {
        const inode = this.#inodes.get(from);
        if (!inode) throw new Deno.errors.NotFound(from);
        this.#inodes.delete(from);
        this.#inodes.set(to, inode);
      }),
    remove: (path) => this.#do("remove", () => void this.#inodes.delete(path)),
    read: (path, { at, bytes }) => {
      const inode = this.#inodes.get(path);
      if (!inode) return Promise.reject(new Deno.errors.NotFound(path));
      return Promise.resolve(inode.content.slice(at, at + bytes));
    },
    space: () => Promise.resolve({ freeBytes: 1e12, totalBytes: 2e12 }),
  };

  #do(operation: string, run: () => void): Promise<void> {
    if (this.operations.length >= this.cutBefore) return Promise.reject(new Error("no power"));
    this.operations.push(operation);
    run();
    return Promise.resolve();
  }

  /** What is on the disk when the power is back. */
  afterCut(options: { names: "as synced" | "newest"; keep: number }): CrashDisk {
    const disk = new CrashDisk();
    const names = options.names === "newest" ? this.#inodes : this.#durable;
    for (const [path, { content, synced }] of names) {
      const kept = synced.length === content.length
        ? content
        : content.slice(0, Math.floor(content.length * options.keep));
      disk.#inodes.set(path, { content: kept, synced: kept });
    }
    return disk;
  }
}
