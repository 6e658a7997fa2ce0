/** What processes use, as Linux counts it. */
const TICKS_PER_SECOND = 100;

interface Stat {
  readonly pid: number;
  readonly parent: number;
  readonly cpuMs: number;
  /** That of its children that have ended. */
  readonly reapedMs: number;
}

async function readStat(pid: number): Promise<Stat | undefined> {
  const text = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => undefined);
  // The name of the program stands in parentheses and may hold anything.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
  if (!fields) return undefined;
  const ms = (from: number) =>
    ((fields[from] ?? 0) + (fields[from + 1] ?? 0)) * 1_000 / TICKS_PER_SECOND;
  return { pid, parent: fields[1] ?? 0, cpuMs: ms(11), reapedMs: ms(13) };
}

/** CPU time that a process has used, its ended children included. */
export async function cpuMsOf(pid: number): Promise<number> {
  const stat = await readStat(pid);
  return stat ? stat.cpuMs + stat.reapedMs : 0;
}

/** CPU time of a process and of all below it, ended ones included. */
export async function cpuMsOfTree(root: number): Promise<number> {
  const stats: Stat[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    const stat = /^\d+$/.test(name) ? await readStat(Number(name)) : undefined;
    if (stat) stats.push(stat);
  }
  const inTree = new Set([root]);
  for (let size = 0; size < inTree.size;) {
    size = inTree.size;
    for (const { pid, parent } of stats) if (inTree.has(parent)) inTree.add(pid);
  }
  return stats.filter(({ pid }) => inTree.has(pid))
    .reduce((sum, { cpuMs, reapedMs }) => sum + cpuMs + reapedMs, 0);
}

/** Resident memory in megabytes. */
export async function residentMb(pid: number): Promise<number> {
  const text = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) / 1_024;
}
