/** Removes what killed test runs left. Only folders of ours, by name and owner, and only when nobody holds their lock. */
import { join } from "node:path";
import {
  DataFolderInUseError,
  hasCluster,
  lockDataFolder,
  openDataFolder,
  settlePredecessor,
} from "../../control-plane/database/data_folder.ts";

export const RUN_PREFIX = "rookery-run-";
export const CLUSTER_PREFIX = "rookery-cluster-";

const LOCK = "lock";
/** A folder that is still being made has no lock yet. */
const YOUNG_MS = 3_600_000;

/** Locks a run's folder for the life of this process: the kernel drops the lock however the process ends. */
export async function lockRun(folder: string): Promise<Disposable> {
  const unlocked = join(folder, `${LOCK}.new`);
  const file = await Deno.open(unlocked, { read: true, write: true, create: true });
  await file.lock(true);
  // It appears under its name only when it is locked, so that nobody finds it free.
  await Deno.rename(unlocked, join(folder, LOCK));
  return { [Symbol.dispose]: () => file.close() };
}

/** Removes the folders of runs that were killed. */
export async function sweepRuns(parent: string): Promise<void> {
  for (const folder of await foldersOfOurs(parent, RUN_PREFIX)) {
    if (await isRunDead(folder)) await removeIfThere(folder);
  }
}

/** Removes the clusters of runs that were killed, with their sockets and with servers that are still there. */
export async function sweepClusters(parent: string): Promise<void> {
  for (const folder of await foldersOfOurs(parent, CLUSTER_PREFIX)) {
    if (await hasCluster(join(folder, "postgres")) || await isOld(folder)) {
      await removeDeadCluster(folder);
    }
  }
}

async function removeDeadCluster(folder: string): Promise<void> {
  const data = await openDataFolder(folder);
  try {
    using _lock = await lockDataFolder(data);
    await settlePredecessor(data.cluster);
    await removeIfThere(folder);
  } catch (error) {
    if (!(error instanceof DataFolderInUseError)) throw error;
  }
}

async function isRunDead(folder: string): Promise<boolean> {
  try {
    using file = await Deno.open(join(folder, LOCK), { read: true, write: true });
    return await file.tryLock(true);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return await isOld(folder);
    throw error;
  }
}

async function foldersOfOurs(parent: string, prefix: string): Promise<readonly string[]> {
  const folders: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(parent)) {
    if (!isDirectory || !name.startsWith(prefix)) continue;
    const entry = await Deno.lstat(join(parent, name)).catch(ignoreMissing);
    if (entry?.isDirectory && entry.uid === Deno.uid()) folders.push(join(parent, name));
  }
  return folders;
}

async function isOld(folder: string): Promise<boolean> {
  const entry = await Deno.lstat(folder).catch(ignoreMissing);
  return Date.now() - (entry?.mtime?.getTime() ?? Infinity) > YOUNG_MS;
}

/** Another run may sweep at the same time. */
async function removeIfThere(folder: string): Promise<void> {
  await Deno.remove(folder, { recursive: true }).catch(ignoreMissing);
}

function ignoreMissing(error: unknown): undefined {
  if (error instanceof Deno.errors.NotFound) return undefined;
  throw error;
}
