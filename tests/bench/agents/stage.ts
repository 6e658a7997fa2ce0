/** What the bench runs on: one durable PostgreSQL, replicas of the control plane, each a process of its own. */
import { join } from "node:path";
import { type DatabaseAddress, databaseUrl } from "../../../control-plane/database/connect.ts";
import { startEmbeddedPostgres } from "../../../control-plane/database/embedded.ts";
import { plantCluster } from "../../support/cluster_seed.ts";
import { type Child, ProcessGroup } from "../../support/processes.ts";
import { onServer } from "../../support/test_server.ts";
import { later } from "./sim_agent.ts";
import { COUNTING } from "./statements.ts";
import { cpuMsOf, cpuMsOfTree, residentMb } from "./usage.ts";

const ROOT = join(import.meta.dirname ?? ".", "..", "..", "..");
const START_MS = 60_000;

export interface ReplicaProcess {
  readonly port: number;
  readonly pid: number;
}

/** CPU time used so far, in milliseconds. */
export interface CpuUsed {
  readonly replicas: readonly number[];
  readonly database: number;
}

export interface Stage extends AsyncDisposable {
  readonly group: ProcessGroup;
  readonly address: DatabaseAddress;
  readonly keyFile: string;
  readonly publicUrl: string;
  readonly replicas: readonly ReplicaProcess[];
  cpuUsed(): Promise<CpuUsed>;
  residentMb(): Promise<readonly number[]>;
  /** Connections to the database, ours left out. */
  connections(): Promise<number>;
}

export async function openStage({ replicas: count }: { replicas: number }): Promise<Stage> {
  await using stack = new AsyncDisposableStack();
  const group = stack.use(await ProcessGroup.create("rookery-bench-"));
  const dataDir = join(group.folder, "database");
  await plantCluster(dataDir);
  const settings = { max_connections: "150", ...COUNTING };
  const postgres = stack.use(await startEmbeddedPostgres({ dataDir, settings }));
  const address = postgres.connection;
  const keyFile = join(group.folder, "keys.json");
  const ports = Array.from({ length: count }, freePort);
  const publicUrl = `http://127.0.0.1:${ports[0]}`;
  const replicas: ReplicaProcess[] = [];
  // One after the other: the first one makes the keys that the others share.
  for (const port of ports) {
    const folder = join(group.folder, `replica-${port}`);
    const child = await startReplica(group, { port, folder, keyFile, publicUrl, address });
    replicas.push({ port, pid: child.pid });
  }
  const postmaster = await postmasterPid(join(dataDir, "postgres", "postmaster.pid"));
  const life = stack.move();
  return {
    group,
    address,
    keyFile,
    publicUrl,
    replicas,
    cpuUsed: async () => ({
      replicas: await Promise.all(replicas.map(({ pid }) => cpuMsOf(pid))),
      database: await cpuMsOfTree(postmaster),
    }),
    residentMb: () => Promise.all(replicas.map(({ pid }) => residentMb(pid))),
    connections: () => countConnections(address),
    [Symbol.asyncDispose]: () => life.disposeAsync(),
  };
}

async function startReplica(
  group: ProcessGroup,
  { port, folder, keyFile, publicUrl, address }: {
    port: number;
    folder: string;
    keyFile: string;
    publicUrl: string;
    address: DatabaseAddress;
  },
): Promise<Child> {
  const program = [
    Deno.execPath(),
    "run",
    "-A",
    "--cached-only",
    ...profileFlags(),
    "control-plane/main.ts",
  ];
  const child = await group.start({
    command: "sh",
    // Its log, a line a request, goes where nobody has to read it.
    args: ["-c", `cd "$1" && shift && exec "$@" >/dev/null`, "sh", ROOT, ...program],
    env: {
      DATABASE_URL: databaseUrl(address),
      ROOKERY_DATA: folder,
      ROOKERY_KEYS: keyFile,
      ROOKERY_LISTEN: `127.0.0.1:${port}`,
      ROOKERY_PUBLIC_URL: publicUrl,
    },
  });
  await untilReady(`http://127.0.0.1:${port}/readyz`, child);
  return child;
}

/** `ROOKERY_BENCH_PROFILE=folder`: where each replica leaves a CPU profile for Chrome's developer tools. */
function profileFlags(): readonly string[] {
  const folder = Deno.env.get("ROOKERY_BENCH_PROFILE");
  return folder ? ["--cpu-prof", `--cpu-prof-dir=${folder}`] : [];
}

async function untilReady(url: string, child: Child): Promise<void> {
  const until = performance.now() + START_MS;
  while (performance.now() < until) {
    const reply = await fetch(url).catch(() => undefined);
    await reply?.body?.cancel();
    if (reply?.ok) return;
    await later(100);
  }
  throw new Error(`The control plane did not start:\n${child.tail()}`);
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

async function postmasterPid(path: string): Promise<number> {
  const [line = ""] = (await Deno.readTextFile(path)).split("\n");
  return Number(line);
}

async function countConnections(address: DatabaseAddress): Promise<number> {
  return await onServer(address, async (sql) => {
    const [row] = await sql<{ count: number }[]>`
      select count(*)::int as count from pg_stat_activity
      where backend_type = 'client backend' and pid <> pg_backend_pid()`;
    return row?.count ?? 0;
  });
}
