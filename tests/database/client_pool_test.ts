import assert from "node:assert/strict";
import { sql } from "kysely";
import type { Kysely } from "kysely";
import { isDatabaseAway } from "../../control-plane/database/away.ts";
import { connectDatabase } from "../../control-plane/database/connect.ts";
import type { Database } from "../../control-plane/database/schema.ts";
import { startEmbeddedPostgres } from "../../control-plane/database/embedded.ts";
import { plantCluster } from "../support/cluster_seed.ts";

const PATIENCE_MS = 700;
const AWAY = { code: "DATABASE_AWAY" };

async function withPool(run: (db: Kysely<Database>) => Promise<void>): Promise<void> {
  const parent = await Deno.makeTempDir({ prefix: "rookery-pool-" });
  try {
    const dataDir = `${parent}/data`;
    await plantCluster(dataDir);
    await using cluster = await startEmbeddedPostgres({ dataDir, durable: false });
    await using database = connectDatabase(cluster.connection, {
      poolSize: 2,
      maxLifetimeSeconds: null,
      patienceMs: PATIENCE_MS,
    });
    await run(database.db);
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
}

async function backendOf(db: Kysely<Database>): Promise<number> {
  const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db);
  return rows[0]?.pid ?? NaN;
}

/** Both connections answer at once. */
async function assertWhole(db: Kysely<Database>): Promise<void> {
  const pids = await Promise.all([1, 2].map(() =>
    db.connection().execute(async (connection) => {
      await sql`select pg_sleep(0.1)`.execute(connection);
      return await backendOf(connection);
    })
  ));
  assert.equal(new Set(pids).size, 2);
}

Deno.test("db fails in time when its server process stands still, and goes on with another", async () => {
  await withPool(async (db) => {
    const pid = await backendOf(db);
    Deno.kill(pid, "SIGSTOP");
    const started = performance.now();
    await assert.rejects(backendOf(db), AWAY);
    assert.ok(performance.now() - started < 3 * PATIENCE_MS);
    await assertWhole(db);
    Deno.kill(pid, "SIGCONT");
  });
});

Deno.test("db fails the rest of a transaction whose connection is lost, and does none of it", async () => {
  await withPool(async (db) => {
    await sql`create table kept (x integer)`.execute(db);
    const transaction = db.transaction().execute(async (tx) => {
      const pid = await backendOf(tx);
      await sql`select pg_terminate_backend(${pid}, 1000)`.execute(db);
      await sql`insert into kept values (1)`.execute(tx);
    });
    await assert.rejects(transaction, isDatabaseAway);
    const { rows } = await sql`select x from kept`.execute(db);
    assert.equal(rows.length, 0);
    await assertWhole(db);
  });
});

Deno.test("db refuses in time when all connections stay in use", async () => {
  await withPool(async (db) => {
    const over = Promise.withResolvers<void>();
    const held = [1, 2].map(() => db.connection().execute(() => over.promise));
    await assert.rejects(backendOf(db), AWAY);
    over.resolve();
    await Promise.all(held);
    await assertWhole(db);
  });
});
