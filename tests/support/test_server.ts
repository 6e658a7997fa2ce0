/** The PostgreSQL of a test run: a fast throw-away cluster, or a server that the environment names. */
import { statfsSync } from "node:fs";
import { connectDatabase, type DatabaseAddress } from "../../control-plane/database/connect.ts";
import { startEmbeddedPostgres } from "../../control-plane/database/embedded.ts";
import { migrate } from "../../control-plane/database/migrate.ts";
import { plantCluster } from "./cluster_seed.ts";
import { CLUSTER_PREFIX, sweepClusters } from "./sweep.ts";

/** What a test file must know to clone a database; travels as JSON in ROOKERY_TEST_DATABASE. */
export interface TestServerAddress {
  readonly server: DatabaseAddress;
  /** A migrated database that nobody is connected to. */
  readonly template: string;
  /** Begins the name of every database of this run. */
  readonly prefix: string;
}

/** A server that tests may clone databases on. */
export interface TestServer {
  readonly address: TestServerAddress;
  /** Drops the template and all databases of this run, stops what was started; returns the databases that tests left. */
  close(): Promise<readonly string[]>;
}

/** Opens the server of `url`, or a cluster of its own when there is none, and makes the template. */
export async function openTestServer(url: string | undefined): Promise<TestServer> {
  await using stack = new AsyncDisposableStack();
  const server = url || await startCluster(stack);
  const prefix = `rookery_test_${crypto.randomUUID().slice(0, 8)}_`;
  const address = { server, prefix, template: `${prefix}template` };
  await makeTemplate(address);
  const life = stack.move();
  return {
    address,
    close: async () => {
      await using _ended = life;
      return await dropAll(address);
    },
  };
}

async function startCluster(stack: AsyncDisposableStack): Promise<DatabaseAddress> {
  const dir = fastDir();
  await sweepClusters(dir);
  const dataDir = await Deno.makeTempDir({ dir, prefix: CLUSTER_PREFIX });
  stack.defer(() => Deno.remove(dataDir, { recursive: true }));
  await plantCluster(dataDir);
  const settings = { max_connections: "300", wal_level: "minimal", max_wal_senders: "0" };
  const cluster = await startEmbeddedPostgres({ dataDir, durable: false, settings });
  stack.defer(cluster.stop);
  await silence(cluster.connection);
  return cluster.connection;
}

/**
 * A line in the server's log is a read that ends inside some test, which the sanitizers take for a leak when the server
 * belongs to the test's own process. Only after the start, for readiness is a line of the log as well.
 */
async function silence(server: DatabaseAddress): Promise<void> {
  await onServer(server, (sql) => sql`alter system set log_min_messages = panic`);
  await onServer(server, (sql) => sql`select pg_reload_conf()`);
}

const ENOUGH_BYTES = 2 ** 30;

/** Memory when there is room (cloning a template is four times faster there), else the usual place. */
function fastDir(): string {
  const usual = Deno.env.get("TMPDIR") ?? "/tmp";
  try {
    const { bavail, bsize } = statfsSync("/dev/shm");
    return bavail * bsize >= ENOUGH_BYTES ? "/dev/shm" : usual;
  } catch {
    return usual;
  }
}

async function makeTemplate({ server, template }: TestServerAddress): Promise<void> {
  await onServer(server, (sql) => sql`create database ${sql(template)} template template0`);
  const database = connectDatabase(addressOf(server, template), { poolSize: 1 });
  try {
    await migrate(database.sql);
  } finally {
    await database.close();
  }
  await onServer(server, (sql) => sql`alter database ${sql(template)} allow_connections false`);
}

async function dropAll(
  { server, prefix, template }: TestServerAddress,
): Promise<readonly string[]> {
  return await onServer(server, async (sql) => {
    const rows = await sql<{ name: string }[]>`
      select datname as name from pg_database where starts_with(datname, ${prefix})`;
    for (const { name } of rows) await sql`drop database ${sql(name)} with (force)`;
    return rows.map((row) => row.name).filter((name) => name !== template);
  });
}

/** Runs statements on the server's own database. */
export async function onServer<T>(
  server: DatabaseAddress,
  run: (sql: ReturnType<typeof connectDatabase>["sql"]) => PromiseLike<T>,
): Promise<T> {
  await using database = connectDatabase(server, { poolSize: 1 });
  return await run(database.sql);
}

/** The address of another database of the same server. */
export function addressOf(server: DatabaseAddress, database: string): DatabaseAddress {
  if (typeof server !== "string") return { ...server, database };
  const url = new URL(server);
  url.pathname = `/${encodeURIComponent(database)}`;
  return url.href;
}
