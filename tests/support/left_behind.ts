/** What a test run left behind: processes and temporary files. Linux only; elsewhere it finds no processes. */
import { setTimeout as delay } from "node:timers/promises";

/** How to know the processes of a run: by one or the other. */
export interface RunMark {
  /** `NAME=value`, a variable that only processes of the run have. */
  readonly variable?: string;
  /** The folder for temporary files of the run: a process that works below it is one of the run. */
  readonly folder: string;
}

const GRACE_MS = 5_000;
const PAUSE_MS = 50;

/** Waits a moment for the processes of a run to end, kills those that stay, and says which they were. */
export async function endProcesses(mark: RunMark): Promise<readonly string[]> {
  const deadline = performance.now() + GRACE_MS;
  let left = await findProcesses(mark);
  while (left.length > 0 && performance.now() < deadline) {
    await delay(PAUSE_MS);
    left = await findProcesses(mark);
  }
  for (const { pid } of left) killIfAlive(pid);
  return left.map(({ pid, command }) => `process ${pid} (${command})`);
}

export interface FoundProcess {
  readonly pid: number;
  readonly command: string;
}

/** The processes of a run that are alive now. */
export async function findProcesses(mark: RunMark): Promise<readonly FoundProcess[]> {
  if (Deno.build.os !== "linux") return [];
  const found: FoundProcess[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name) || !await belongs(name, mark)) continue;
    const command = (await readOrEmpty(`/proc/${name}/cmdline`)).replaceAll("\0", " ").trim();
    if (command) found.push({ pid: Number(name), command: command.slice(0, 200) });
  }
  return found;
}

async function belongs(pid: string, mark: RunMark): Promise<boolean> {
  const environment = await readOrEmpty(`/proc/${pid}/environ`);
  if (mark.variable && environment.split("\0").includes(mark.variable)) return true;
  const workingFolder = await Deno.readLink(`/proc/${pid}/cwd`).catch(() => "");
  return workingFolder.startsWith(`${mark.folder}/`);
}

/** A process may end while it is looked at, and those of other users are closed to us. */
async function readOrEmpty(path: string): Promise<string> {
  return await Deno.readTextFile(path).catch(() => "");
}

function killIfAlive(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** The names of what stands in a folder. */
export async function listFolder(folder: string): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(folder)) names.push(entry.name);
  return names.sort();
}
