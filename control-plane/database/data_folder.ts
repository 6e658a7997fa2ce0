import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import process from "node:process";

/** Where things stand in the data folder of an embedded PostgreSQL. */
export interface DataFolder {
  /** The cluster itself (PGDATA). */
  readonly cluster: string;
  /** Held locked by the one process that runs the cluster; it names the folder of the socket. */
  readonly lockFile: string;
}

/** Another process runs this data folder. */
export class DataFolderInUseError extends Error {
  override readonly name = "DataFolderInUseError";
}

/** The paths below a data folder, which is made (mode 0700) when it is not there. */
export async function openDataFolder(path: string): Promise<DataFolder> {
  try {
    await Deno.mkdir(path, { recursive: true, mode: 0o700 });
    const real = await Deno.realPath(path);
    await checkPrivate(real);
    return { cluster: join(real, "postgres"), lockFile: join(real, "postgres.lock") };
  } catch (cause) {
    throw new Error(`Cannot use ${path} as data folder: ${reasonOf(cause)}`, { cause });
  }
}

async function checkPrivate(path: string): Promise<void> {
  const { mode } = await Deno.stat(path);
  if (mode === null || (mode & 0o077) === 0) return;
  throw new Error(`others may enter it. Run: chmod 700 ${path}`);
}

/** A lock on a data folder. The kernel drops it when the process ends, however it ends. */
export interface DataFolderLock extends Disposable {
  /** Writes the socket's folder for those who attach, and for the clean-up after a crash. */
  publish(socketDir: string): Promise<void>;
}

/** Locks the data folder for this process or throws a DataFolderInUseError. */
export async function lockDataFolder(folder: DataFolder): Promise<DataFolderLock> {
  const file = await Deno.open(folder.lockFile, {
    read: true,
    write: true,
    create: true,
    mode: 0o600,
  });
  try {
    if (!await file.tryLock(true)) {
      throw new DataFolderInUseError(
        `Cannot start the embedded PostgreSQL in ${folder.cluster}: another Rookery process uses this data folder`,
      );
    }
    await removeLeftSocketDir(folder);
  } catch (error) {
    file.close();
    throw error;
  }
  return {
    publish: (socketDir) => Deno.writeTextFile(folder.lockFile, socketDir),
    [Symbol.dispose]: () => file.close(),
  };
}

/** The socket's folder of the process that runs this data folder, or undefined when none does. */
export async function runningSocketDir(folder: DataFolder): Promise<string | undefined> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(folder.lockFile, { read: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  using _closing = file;
  return await file.tryLock(false)
    ? undefined
    : (await Deno.readTextFile(folder.lockFile)) || undefined;
}

/** How the socket's folder is named, below the folder for temporary files. */
export const SOCKET_DIR_PREFIX = "rookery-";

/** Removes the socket's folder of a predecessor that was killed before it could. */
async function removeLeftSocketDir(folder: DataFolder): Promise<void> {
  const left = await Deno.readTextFile(folder.lockFile);
  // The name comes from a file: only a folder of our own making and ownership is removed.
  if (!left.startsWith("/") || !left.split("/").at(-1)?.startsWith(SOCKET_DIR_PREFIX)) return;
  const entry = await Deno.lstat(left).catch(() => undefined);
  const owners = [Deno.uid(), Deno.uid() === 0 ? 65534 : Deno.uid()];
  if (!entry?.isDirectory || !owners.includes(entry.uid)) return;
  await removeWhileOthersWrite(left);
}

const REMOVE_TRIES = 50;

/** What is left of a killed supervisor may still write into the folder, and then it is not empty at the end of a removal. */
async function removeWhileOthersWrite(path: string): Promise<void> {
  for (let tries = 1;; tries++) {
    try {
      return await Deno.remove(path, { recursive: true });
    } catch (cause) {
      if (cause instanceof Deno.errors.NotFound) return;
      if (tries === REMOVE_TRIES) {
        throw new Error(
          `Cannot remove ${path}, left by a killed Rookery: ${reasonOf(cause)}. Remove it`,
          {
            cause,
          },
        );
      }
      await delay(20);
    }
  }
}

/** Throws when the cluster was made by another major version of PostgreSQL than `major`. */
export async function checkMajorVersion(cluster: string, major: string): Promise<void> {
  const found = (await Deno.readTextFile(join(cluster, "PG_VERSION"))).trim();
  if (found === major) return;
  throw new Error(
    `Cannot open ${cluster}: it was written by PostgreSQL ${found}, and this Rookery brings PostgreSQL ${major}. ` +
      `Start the Rookery that wrote it, export the data with pg_dump ${found}, move the folder away, and load the ` +
      `export into a new one; or set DATABASE_URL to a PostgreSQL ${found} server that runs this folder`,
  );
}

/** True when the folder holds a cluster. */
export async function hasCluster(cluster: string): Promise<boolean> {
  try {
    return (await Deno.stat(join(cluster, "PG_VERSION"))).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw new Error(`Cannot read ${cluster}: ${reasonOf(error)}`, { cause: error });
  }
}

/**
 * Deals with the postmaster.pid of a PostgreSQL whose supervisor is gone; call it with the folder locked. One that still
 * runs is stopped and waited for. A pid that now belongs to another program (usual in containers, where pids
 * repeat) would make PostgreSQL refuse to start for ever, so that file is removed.
 */
export async function settlePredecessor(
  cluster: string,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const pidFile = join(cluster, "postmaster.pid");
  const text = await Deno.readTextFile(pidFile).catch(() => "");
  const pid = Math.abs(Number.parseInt(text, 10));
  if (!(pid > 1) || !isAlive(pid)) return;
  if (!await runsIn(pid, cluster)) {
    if (Deno.build.os === "linux") await Deno.remove(pidFile);
    return;
  }
  Deno.kill(pid, "SIGINT");
  while (isAlive(pid) && await runsIn(pid, cluster)) {
    await delay(20, undefined, { signal: options.signal });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** PostgreSQL makes its cluster the working folder; nothing else of ours does. */
async function runsIn(pid: number, cluster: string): Promise<boolean> {
  return await Deno.readLink(`/proc/${pid}/cwd`).catch(() => "") === cluster;
}

/** The message of an error, for the end of another one. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
