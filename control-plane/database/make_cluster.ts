import { dirname } from "node:path";
import type { Unprivileged } from "./unprivileged.ts";

/** How to run `initdb`. */
export interface MakeClusterOptions {
  readonly initdb: string;
  /** The database superuser, the only role. */
  readonly user: string;
  readonly unprivileged: Unprivileged;
  readonly env: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** Makes a cluster: whole, or not at all (an interrupted one is thrown away at the next start). */
export async function makeCluster(cluster: string, options: MakeClusterOptions): Promise<void> {
  const unfinished = `${cluster}.unfinished`;
  await Deno.remove(unfinished, { recursive: true }).catch(() => {});
  await Deno.mkdir(unfinished, { mode: 0o700 });
  await ownCluster([unfinished], options.unprivileged);
  const { success, stderr } = await initdb(unfinished, options);
  options.signal?.throwIfAborted();
  if (!success) {
    const said = new TextDecoder().decode(stderr).trim();
    throw new Error(`Cannot make a PostgreSQL cluster in ${dirname(cluster)}: ${said}`);
  }
  await Deno.rename(unfinished, cluster);
}

function initdb(cluster: string, options: MakeClusterOptions): Promise<Deno.CommandOutput> {
  const flags = `-U ${options.user} -A trust -E UTF8 --locale-provider=builtin ` +
    "--builtin-locale=C.UTF-8 --no-instructions --data-checksums";
  const command = [...options.unprivileged.prefix, options.initdb, "-D", cluster];
  const [program = "", ...args] = [...command, ...flags.split(" ")];
  return new Deno.Command(program, {
    args,
    clearEnv: true,
    env: options.env,
    stdin: "null",
    stdout: "null",
    ...(options.signal ? { signal: options.signal } : {}),
  }).output();
}

/** Gives folders to the user that PostgreSQL runs as, which differs between the two ways of not being root. */
export async function ownCluster(
  folders: readonly string[],
  unprivileged: Unprivileged,
): Promise<void> {
  for (const folder of folders) {
    const { uid } = await Deno.stat(folder);
    if (uid === unprivileged.uid) continue;
    if (Deno.uid() !== 0) {
      throw new Error(
        `Cannot use ${folder}: it belongs to user ${uid}, and this is user ${unprivileged.uid}`,
      );
    }
    const args = ["-Rh", `${unprivileged.uid}:${unprivileged.uid}`, "--", folder];
    const { success, stderr } = await new Deno.Command("chown", { args, stdin: "null" }).output();
    if (!success) {
      throw new Error(`Cannot give ${folder} away: ${new TextDecoder().decode(stderr)}`);
    }
  }
}
