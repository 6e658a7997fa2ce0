import { statfs } from "node:fs/promises";

/** The file operations of the spool, each of which may fail (ENOSPC, EIO): a seam for tests of exactly that. */
export interface SpoolFiles {
  /** Makes a folder that only this user can enter; content that is there stays. */
  makeFolder(path: string): Promise<void>;
  list(path: string): Promise<readonly { readonly name: string; readonly bytes: number }[]>;
  /** Writes a file from the start. On disk only after `sync`. */
  write(path: string, pieces: readonly Uint8Array[]): Promise<void>;
  /** Returns once a file's content, or a folder's names, are on disk. */
  sync(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  read(path: string, range: { readonly at: number; readonly bytes: number }): Promise<Uint8Array>;
  /** How much of the disk is free, and how much there is. */
  space(path: string): Promise<{ readonly freeBytes: number; readonly totalBytes: number }>;
}

/** The files of the disk. */
export const diskFiles: SpoolFiles = {
  makeFolder: (path) => Deno.mkdir(path, { recursive: true, mode: 0o700 }),
  async list(path) {
    const files: { name: string; bytes: number }[] = [];
    for await (const { name, isFile } of Deno.readDir(path)) {
      if (isFile) files.push({ name, bytes: (await Deno.stat(`${path}/${name}`)).size });
    }
    return files;
  },
  async write(path, pieces) {
    using file = await Deno.open(path, {
      write: true,
      create: true,
      truncate: true,
      mode: 0o600,
    });
    for (const piece of pieces) {
      for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
    }
  },
  async sync(path) {
    using file = await Deno.open(path, { read: true });
    await file.sync();
  },
  rename: (from, to) => Deno.rename(from, to),
  remove: (path) => Deno.remove(path),
  async read(path, { at, bytes }) {
    using file = await Deno.open(path, { read: true });
    await file.seek(at, Deno.SeekMode.Start);
    const content = new Uint8Array(bytes);
    let read = 0;
    while (read < bytes) {
      const more = await file.read(content.subarray(read));
      if (more === null) break;
      read += more;
    }
    return content.subarray(0, read);
  },
  async space(path) {
    try {
      const { bsize, bavail, blocks } = await statfs(path);
      return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
    } catch (error) {
      // Deno tells it only to programs with --allow-sys, which the agent does without: a write that fails says it then.
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      return { freeBytes: Number.POSITIVE_INFINITY, totalBytes: 0 };
    }
  },
};
