/** Runs `hold_cluster.ts` and looks at the processes it makes. */
import { setTimeout as delay } from "node:timers/promises";
import type { EmbeddedConnection } from "../../control-plane/database/embedded.ts";
import { TextLines } from "../../control-plane/database/text_lines.ts";
import { findProcesses } from "../support/left_behind.ts";

/** A running `hold_cluster.ts`. */
export interface ClusterProcess extends AsyncDisposable {
  readonly pid: number;
  readonly connection: EmbeddedConnection;
  /** Sends a signal to the whole process group, as a terminal does. */
  kill(signal: Deno.Signal): Promise<void>;
  /** The next line of JSON it prints. */
  nextLine(): Promise<Record<string, unknown>>;
}

/** Makes a command run as another user, who may read what that user could not: the checkout may be closed to others. */
function playing(uid: number): string[] {
  const capability = "+dac_read_search";
  return [
    ...["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"],
    "--securebits=+no_setuid_fixup",
    ...[`--inh-caps=${capability}`, `--ambient-caps=${capability}`],
  ];
}

/** Starts a cluster in a process of its own. */
export async function startClusterProcess(
  dataDir: string,
  options: { readonly uid?: number; readonly env?: Record<string, string> } = {},
): Promise<ClusterProcess> {
  const [program = "", ...args] = [
    ...(options.uid === undefined ? [] : playing(options.uid)),
    Deno.execPath(),
    // The packages are here already: a user with an empty cache must not fetch them anew.
    ...["run", "-A", "--no-lock", "--node-modules-dir=manual", "--cached-only"],
    ...[new URL("hold_cluster.ts", import.meta.url).pathname, dataDir],
  ];
  const child = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: true,
    env: options.env ?? {},
  }).spawn();
  const errors = new Response(child.stderr).text();
  const lines = child.stdout.pipeThrough(new TextLines()).getReader();
  const nextLine = async () => {
    const { value } = await lines.read();
    if (value === undefined) throw new Error(`hold_cluster.ts ended: ${await errors}`);
    return JSON.parse(value) as Record<string, unknown>;
  };
  const kill = async (signal: Deno.Signal) => {
    Deno.kill(-child.pid, signal);
    if (signal === "SIGKILL") await child.status;
  };
  const first = await nextLine();
  return {
    pid: child.pid,
    connection: first.connection as EmbeddedConnection,
    kill,
    nextLine,
    async [Symbol.asyncDispose]() {
      try {
        await kill("SIGKILL");
      } catch {
        // It has ended already.
      }
      await child.status;
      await errors;
      while (!(await lines.read()).done);
      // The server follows a moment later, and writes until then.
      const server = { folder: dataDir };
      await until(async () => (await findProcesses(server)).length === 0, "the server is gone");
    },
  };
}

/** The pid of the server that runs a data folder's cluster. */
export async function postmasterPid(dataDir: string): Promise<number> {
  return Number.parseInt(await Deno.readTextFile(`${dataDir}/postgres/postmaster.pid`), 10);
}

/** Waits until `condition` holds; the message says what it waited for. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!await condition()) {
    if (performance.now() > deadline) throw new Error(`Cannot wait any longer for: ${what}`);
    await delay(20);
  }
}

/** True while the path is there. */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
