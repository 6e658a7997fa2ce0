/**
 * The user, the processes and the folder of a live device, and the process that clears them away: it waits
 * for its input to end, so that they go also when the tests are interrupted or killed.
 */
import { randomBytes } from "node:crypto";

export interface Keeper extends AsyncDisposable {
  readonly folder: string;
  readonly user: string;
  /** Starts a program that stays in the foreground; its output goes to `<name>.log` in the folder. */
  start(name: string, command: readonly [string, ...string[]]): Promise<void>;
}

export interface KeeperOptions {
  /** The login shell of the user, given the folder. */
  readonly shell: (folder: string) => string;
  readonly groups?: readonly string[];
  readonly password: string;
}

// Only processes that were started for this device, and those of its own user, are ended. A daemon has a second to end by
// itself: dropbear 2022.83 looks for SIGTERM only behind its select(), so one that comes just before that is never seen.
const KEEP = `
cat >/dev/null
pids=$(cat "$1/pids" 2>/dev/null)
for pid in $pids; do kill "$pid" 2>/dev/null; done
pkill -KILL -U "$2"
for attempt in 1 2 3 4 5; do kill -0 $pids 2>/dev/null || break; sleep 0.2; done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
for attempt in 1 2 3 4 5; do userdel "$2" 2>/dev/null; id "$2" >/dev/null 2>&1 || break; sleep 0.2; done
rm -rf "$1"
`;

/** Makes a temporary folder and user, and the process that removes both. */
export async function startKeeper(options: KeeperOptions): Promise<Keeper> {
  const folder = await Deno.makeTempDir({ prefix: "rookery_live_" });
  await Deno.chmod(folder, 0o755); // the user of the device has to reach its home below
  const user = `rookery-${randomBytes(4).toString("hex")}`;
  const child = new Deno.Command("sh", {
    args: ["-c", KEEP, "sh", folder, user],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
    detached: true, // Ctrl-C is for the tests; the keeper sees it as the end of its input
  }).spawn();
  const started: Promise<unknown>[] = [];
  async function stop(): Promise<void> {
    await child.stdin.close();
    await child.status;
    await Promise.all(started);
  }
  try {
    await addUser({ folder, user }, options);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    folder,
    user,
    async start(name, command) {
      const program = startProgram(folder, { name, command });
      started.push(program.status);
      await Deno.writeTextFile(`${folder}/pids`, `${program.pid}\n`, { append: true });
    },
    [Symbol.asyncDispose]: stop,
  };
}

async function addUser(
  { folder, user }: Pick<Keeper, "folder" | "user">,
  { shell, groups = [], password }: KeeperOptions,
): Promise<void> {
  const home = `${folder}/home`;
  const more = groups.length > 0 ? ["-G", groups.join(",")] : [];
  await run(["useradd", "-d", home, "-M", "-N", "-s", shell(folder), ...more, user]);
  await run(["install", "-d", "-o", user, "-m", "0700", home, `${home}/.ssh`]);
  await run(["chpasswd"], { input: `${user}:${password}\n` });
}

function startProgram(
  folder: string,
  { name, command }: { readonly name: string; readonly command: readonly [string, ...string[]] },
): Deno.ChildProcess {
  return new Deno.Command("sh", {
    args: ["-c", 'exec "$@" >>"$0" 2>&1', `${folder}/${name}.log`, ...command],
    cwd: folder,
    stdin: "null",
    stdout: "null",
    stderr: "null",
    detached: true,
  }).spawn();
}

/** Runs a program to its end; throws with what it said when it fails. */
export async function run(
  [program, ...args]: readonly [string, ...string[]],
  { input = "" }: { readonly input?: string } = {},
): Promise<string> {
  const child = new Deno.Command(program, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // A program that reads no input may be gone before this is written.
  await writer.write(new TextEncoder().encode(input)).catch(() => {});
  await writer.close().catch(() => {});
  const { success, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`Cannot run ${program}: ${decoder.decode(stderr).trim()}`);
  return decoder.decode(stdout);
}
