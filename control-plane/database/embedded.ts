import { join } from "node:path";
import {
  checkMajorVersion,
  type DataFolder,
  DataFolderInUseError,
  type DataFolderLock,
  hasCluster,
  lockDataFolder,
  openDataFolder,
  reasonOf,
  runningSocketDir,
  SOCKET_DIR_PREFIX,
} from "./data_folder.ts";
import { findPostgresBinaries, linkLibraries } from "./embedded_binaries.ts";
import { makeCluster, ownCluster } from "./make_cluster.ts";
import { type Run, supervise } from "./supervise.ts";
import { chooseUnprivileged, type Unprivileged } from "./unprivileged.ts";

/** How to reach an embedded PostgreSQL: a socket in a folder that only its owner may enter, hence no password. */
export interface EmbeddedConnection {
  /** The folder of the socket. */
  readonly host: string;
  /** Only part of the socket's name; nothing listens on TCP. */
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

/** What to start and whom to tell. */
export interface EmbeddedOptions {
  /** Rookery's data folder; the cluster stands in `postgres` below it. */
  readonly dataDir: string;
  readonly signal?: AbortSignal;
  /** False gives up crash safety for speed: for tests. Default true. */
  readonly durable?: boolean;
  /** More settings of postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Called after PostgreSQL died by itself and runs again, with what it said last. */
  readonly onRestart?: (reason: string) => void;
  /** Gets each line that PostgreSQL prints. */
  readonly log?: (line: string) => void;
}

/** A running PostgreSQL that is started again when it dies, until `stop()`. */
export interface EmbeddedPostgres extends AsyncDisposable {
  readonly socketDir: string;
  readonly connection: EmbeddedConnection;
  stop(): Promise<void>;
}

const PORT = 5432;
const USER = "rookery";
/** A socket's path may have 107 bytes; the rest is for our folder and the socket's name. */
const LONGEST_TEMP_DIR = 70;

/** Starts the PostgreSQL of a data folder, making the cluster on first use. */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const folder = await openDataFolder(options.dataDir);
  await using stack = new AsyncDisposableStack();
  const lock = stack.use(await lockDataFolder(folder));
  const socketDir = await makeSocketDir(lock);
  stack.defer(() => Deno.remove(socketDir, { recursive: true }).catch(ignoreNotFound));
  const run = await prepare(folder, { ...options, socketDir });
  const supervision = await supervise(run, options);
  stack.defer(supervision.stop);
  const life = stack.move();
  let stopped: Promise<void> | undefined;
  const stop = () => stopped ??= life.disposeAsync();
  return { socketDir, connection: connectionIn(socketDir), stop, [Symbol.asyncDispose]: stop };
}

/** The connection to the PostgreSQL that another process runs in this data folder, or undefined when none does. */
export async function findEmbeddedPostgres(
  dataDir: string,
): Promise<EmbeddedConnection | undefined> {
  const socketDir = await runningSocketDir(await openDataFolder(dataDir));
  return socketDir === undefined ? undefined : connectionIn(socketDir);
}

/**
 * For commands that run beside a control plane as well as without one: uses the PostgreSQL of the process that has the
 * data folder, or starts it. `stop()` stops only what was started here.
 */
export async function useEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  try {
    return await startEmbeddedPostgres(options);
  } catch (error) {
    const connection = error instanceof DataFolderInUseError &&
      await findEmbeddedPostgres(options.dataDir);
    if (!connection) throw error;
    const stop = () => Promise.resolve();
    return { socketDir: connection.host, connection, stop, [Symbol.asyncDispose]: stop };
  }
}

function connectionIn(socketDir: string): EmbeddedConnection {
  return { host: socketDir, port: PORT, user: USER, database: "postgres" };
}

async function makeSocketDir(lock: DataFolderLock): Promise<string> {
  const wanted = Deno.env.get("TMPDIR") || "/tmp";
  const dir = wanted.length <= LONGEST_TEMP_DIR ? wanted : "/tmp";
  const socketDir = await Deno.makeTempDir({ dir, prefix: SOCKET_DIR_PREFIX });
  await lock.publish(socketDir);
  return socketDir;
}

function ignoreNotFound(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

async function prepare(
  folder: DataFolder,
  options: EmbeddedOptions & { readonly socketDir: string },
): Promise<Run> {
  const { signal, socketDir } = options;
  const binaries = findPostgresBinaries();
  const libraries = join(socketDir, "lib");
  await linkLibraries(binaries, libraries);
  const env = environment([libraries, binaries.libDir]);
  const postgres = join(binaries.binDir, "postgres");
  const { unprivileged, text } = await chooseUnprivileged((prefix) =>
    tryVersion([...prefix, postgres, "-V"], env)
  );
  if (!await hasCluster(folder.cluster)) {
    const initdb = join(binaries.binDir, "initdb");
    await makeCluster(folder.cluster, { initdb, user: USER, unprivileged, env, signal });
  }
  await checkMajorVersion(folder.cluster, /PostgreSQL\) (\d+)/.exec(text)?.[1] ?? text);
  await ownCluster([folder.cluster, socketDir], unprivileged);
  const command = commandLine(postgres, { ...options, unprivileged, cluster: folder.cluster });
  const restoreSocketDir = async () => {
    await linkLibraries(binaries, libraries);
    await ownCluster([socketDir], unprivileged);
  };
  return { cluster: folder.cluster, socketDir, command, env, restoreSocketDir };
}

/** Nothing of our own environment reaches PostgreSQL: no PG* variable can bend it, no secret lies in its memory. */
function environment(libraries: readonly string[]): Readonly<Record<string, string>> {
  const PATH = Deno.env.get("PATH") ?? "/usr/bin:/bin";
  return { PATH, TZ: "UTC", LC_ALL: "C", LD_LIBRARY_PATH: libraries.join(":") };
}

async function tryVersion(command: readonly string[], env: Readonly<Record<string, string>>) {
  const [program = "", ...args] = command;
  try {
    const options = { args, clearEnv: true, env, stdin: "null" } as const;
    const { success, stdout, stderr } = await new Deno.Command(program, options).output();
    return { ok: success, text: new TextDecoder().decode(success ? stdout : stderr) };
  } catch (error) {
    return { ok: false, text: reasonOf(error) };
  }
}

const FAST_BUT_FORGETFUL = { fsync: "off", synchronous_commit: "off", full_page_writes: "off" };

function commandLine(
  postgres: string,
  options: EmbeddedOptions & {
    readonly socketDir: string;
    readonly cluster: string;
    readonly unprivileged: Unprivileged;
  },
): readonly string[] {
  const settings = {
    ...(options.durable === false ? FAST_BUT_FORGETFUL : {}),
    ...options.settings,
    listen_addresses: "",
    port: String(PORT),
    unix_socket_directories: options.socketDir,
    unix_socket_permissions: "0700",
    // Readiness is read from standard error.
    log_destination: "stderr",
    logging_collector: "off",
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  return [...options.unprivileged.prefix, postgres, "-D", options.cluster, ...flags];
}
