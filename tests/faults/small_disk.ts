/** A small disk that can be filled: needs root and a mount namespace of its own, so that no mount outlives the run. */
import { join } from "node:path";

const SIZE = "4m";
const PIECE_BYTES = 65_536;
const BALLAST = "ballast";
/** Set inside of the namespace. */
const MARK = "ROOKERY_FAULTS_NAMESPACE";

/** Whether disks can be mounted here. */
export function canMount(): boolean {
  return Deno.env.get(MARK) === "1";
}

/** Runs the program once more in a mount namespace of its own, where that is possible; undefined where it is not. */
export async function inOwnNamespace(program: string): Promise<number | undefined> {
  if (canMount() || Deno.build.os !== "linux" || Deno.uid() !== 0) return undefined;
  const probe = await run("unshare", ["--mount", "true"]).catch(() => false);
  if (!probe) return undefined;
  const args = ["--mount", Deno.execPath(), "run", "-A", "--cached-only", program, ...Deno.args];
  const child = new Deno.Command("unshare", { args, env: { [MARK]: "1" } }).spawn();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    // A terminal tells it by itself; whoever tells us alone means it too.
    Deno.addSignalListener(signal, () => child.kill(signal));
  }
  return (await child.status).code;
}

/** Mounts a disk at a folder; gives back how to unmount it. */
export async function mountDisk(folder: string): Promise<() => Promise<void>> {
  if (!canMount()) return () => Promise.resolve();
  const options = `size=${SIZE},mode=0700`;
  if (!await run("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder])) {
    throw new Error(`Cannot mount a disk at ${folder}`);
  }
  return async () => void await run("umount", ["--lazy", folder]);
}

/** Writes until nothing fits any more. */
export async function fillDisk(folder: string): Promise<void> {
  using file = await Deno.open(join(folder, BALLAST), { write: true, create: true });
  const piece = new Uint8Array(PIECE_BYTES);
  try {
    for (;;) await file.write(piece);
  } catch (error) {
    if (!/os error 28/.test(String(error))) throw error;
  }
}

export async function freeDisk(folder: string): Promise<void> {
  await Deno.remove(join(folder, BALLAST)).catch((error: unknown) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

async function run(program: string, args: readonly string[]): Promise<boolean> {
  const { success } = await new Deno.Command(program, {
    args: [...args],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  return success;
}
