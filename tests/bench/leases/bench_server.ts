/** The one PostgreSQL of the bench, durable, with a configuration that is printed beside the figures. */
import { join } from "node:path";
import {
  connectDatabase,
  type ConnectedDatabase,
  type DatabaseAddress,
} from "../../../control-plane/database/connect.ts";
import { startEmbeddedPostgres } from "../../../control-plane/database/embedded.ts";
import { plantCluster } from "../../support/cluster_seed.ts";
import { addressOf, onServer } from "../../support/test_server.ts";

/** Everything else is PostgreSQL's default. No checkpoint falls into a cell by itself. */
export const CONFIGURATION = {
  max_connections: "100",
  shared_buffers: "1GB",
  max_wal_size: "16GB",
  checkpoint_timeout: "1h",
  autovacuum_naptime: "10s",
  jit: "off",
  fsync: "on",
  synchronous_commit: "on",
  full_page_writes: "on",
} as const;

export interface BenchServer extends AsyncDisposable {
  readonly address: DatabaseAddress;
  readonly version: string;
  /** Runs a cell in a database of its own, which is gone afterwards. */
  inDatabase<T>(
    run: (address: DatabaseAddress, admin: ConnectedDatabase) => Promise<T>,
  ): Promise<T>;
}

export async function startBenchServer(): Promise<BenchServer> {
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "rookery-bench-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const dataDir = join(folder, "database");
  await plantCluster(dataDir);
  const postgres = stack.use(await startEmbeddedPostgres({ dataDir, settings: CONFIGURATION }));
  const address = postgres.connection;
  const [row] = await onServer(
    address,
    (sql) => sql<{ version: string }[]>`select current_setting('server_version') as version`,
  );
  const life = stack.move();
  let number = 0;
  return {
    address,
    version: row?.version ?? "",
    async inDatabase(run) {
      const name = `bench_${++number}`;
      await onServer(address, (sql) => sql`create database ${sql(name)} template template0`);
      try {
        await using admin = connectDatabase(addressOf(address, name), { poolSize: 2 });
        return await run(addressOf(address, name), admin);
      } finally {
        await onServer(address, (sql) => sql`drop database ${sql(name)} with (force)`);
      }
    },
    [Symbol.asyncDispose]: () => life.disposeAsync(),
  };
}

/** Where the log stands, in bytes. */
export async function walBytes({ sql }: ConnectedDatabase): Promise<number> {
  const [row] = await sql<{ bytes: number }[]>`
    select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 as bytes`;
  return row?.bytes ?? NaN;
}

/** Runs `work` while a transaction stands that began before it and sees everything as it was then. */
export async function besideOldTransaction<T>(
  { sql }: ConnectedDatabase,
  work: () => Promise<T>,
): Promise<T> {
  const held = await sql.reserve();
  try {
    await held`begin isolation level repeatable read`;
    await held`select pg_current_xact_id(), count(*) from pg_class`;
    return await work();
  } finally {
    await held`rollback`;
    held.release();
  }
}
