import assert from "node:assert/strict";
import { join } from "node:path";
import { connectDatabase, databaseUrl } from "../../control-plane/database/connect.ts";
import {
  type EmbeddedConnection,
  type EmbeddedOptions,
  findEmbeddedPostgres,
  startEmbeddedPostgres,
  useEmbeddedPostgres,
} from "../../control-plane/database/embedded.ts";
import { exists, postmasterPid, startClusterProcess, until } from "./cluster_process.ts";
import { plantCluster } from "../support/cluster_seed.ts";
import { skipUnless } from "../support/skip.ts";

const asNobody = skipUnless(Deno.uid() === 0, "only root can play another user");

/** A data folder inside a folder that nobody else may enter. */
async function closedFolder(): Promise<{ readonly dataDir: string } & AsyncDisposable> {
  const parent = await Deno.realPath(await Deno.makeTempDir());
  await Deno.chmod(parent, 0o700);
  const remove = () => Deno.remove(parent, { recursive: true });
  return { dataDir: join(parent, "data"), [Symbol.asyncDispose]: remove };
}

/** One with a cluster in it, for tests of what becomes of one. */
async function clusterFolder(): Promise<{ readonly dataDir: string } & AsyncDisposable> {
  const folder = await closedFolder();
  await plantCluster(folder.dataDir);
  return folder;
}

function start(dataDir: string, options: Omit<EmbeddedOptions, "dataDir"> = {}) {
  return startEmbeddedPostgres({ dataDir, durable: false, ...options });
}

async function ask<T>(connection: EmbeddedConnection | string, statement: string): Promise<T> {
  await using database = connectDatabase(connection, { poolSize: 1, maxLifetimeSeconds: null });
  const [row] = await database.sql.unsafe<{ answer: T }[]>(statement);
  assert.ok(row);
  return row.answer;
}

Deno.test("startEmbeddedPostgres() makes a cluster in a closed folder, without TCP, and leaves nothing", async () => {
  await using folder = await closedFolder();
  const cluster = await start(folder.dataDir);
  try {
    const { connection, socketDir } = cluster;
    assert.equal(await ask(connection, "select current_setting('listen_addresses') as answer"), "");
    assert.equal(await ask(connection, "select current_setting('data_checksums') as answer"), "on");
    assert.equal(await ask(databaseUrl(connection), "select current_user as answer"), "rookery");
    assert.equal(((await Deno.stat(socketDir)).mode ?? 0) & 0o777, 0o700);
    assert.equal(((await Deno.stat(folder.dataDir)).mode ?? 0) & 0o777, 0o700);
  } finally {
    await cluster.stop();
  }
  assert.equal(await exists(cluster.socketDir), false);
  assert.equal(await exists(`${folder.dataDir}/postgres/postmaster.pid`), false);
});

Deno.test("startEmbeddedPostgres() is durable unless told otherwise", async () => {
  await using folder = await closedFolder();
  await using cluster = await startEmbeddedPostgres({ dataDir: folder.dataDir });
  const settings = "select current_setting('fsync') || current_setting('synchronous_commit') || " +
    "current_setting('full_page_writes') as answer";
  assert.equal(await ask(cluster.connection, settings), "ononon");
});

Deno.test("startEmbeddedPostgres() starts a killed server again and the same pool goes on", async () => {
  await using folder = await clusterFolder();
  const restarted = Promise.withResolvers<string>();
  await using cluster = await startEmbeddedPostgres({
    dataDir: folder.dataDir,
    onRestart: restarted.resolve,
  });
  await using database = connectDatabase(cluster.connection, {
    poolSize: 1,
    maxLifetimeSeconds: null,
  });
  await database.sql`create table kept (x integer)`;
  const before = await postmasterPid(folder.dataDir);
  Deno.kill(before, "SIGKILL");
  assert.match(await restarted.promise, /killed/i);
  assert.notEqual(await postmasterPid(folder.dataDir), before);
  await until(
    async () => await database.sql`select from kept`.then(() => true, () => false),
    "pool",
  );
});

Deno.test("startEmbeddedPostgres() starts again and again although its supervisor was killed too", async () => {
  await using folder = await clusterFolder();
  const said: string[] = [];
  let restarts = 0;
  await using cluster = await start(folder.dataDir, {
    log: (line) => said.push(line),
    onRestart: () => restarts++,
  });
  const supervisor = await parentOf(await postmasterPid(folder.dataDir));
  Deno.kill(supervisor, "SIGKILL");
  for (const deaths of [1, 2, 3]) {
    Deno.kill(await postmasterPid(folder.dataDir), "SIGKILL");
    await until(() => restarts === deaths, `restart ${deaths}: ${said.slice(-5).join(" | ")}`);
    assert.equal(await ask(cluster.connection, "select 1 as answer"), 1);
  }
});

Deno.test("startEmbeddedPostgres() makes its socket's folder anew when that was removed", async () => {
  await using folder = await clusterFolder();
  const restarted = Promise.withResolvers<string>();
  await using cluster = await start(folder.dataDir, { onRestart: restarted.resolve });
  await Deno.remove(cluster.socketDir, { recursive: true });
  Deno.kill(await postmasterPid(folder.dataDir), "SIGKILL");
  await restarted.promise;
  assert.equal(await ask(cluster.connection, "select 1 as answer"), 1);
  assert.equal(((await Deno.stat(cluster.socketDir)).mode ?? 0) & 0o777, 0o700);
});

Deno.test("startEmbeddedPostgres() refuses a folder in use; useEmbeddedPostgres() attaches to it", async () => {
  await using folder = await clusterFolder();
  await using owner = await startClusterProcess(folder.dataDir);
  await assert.rejects(start(folder.dataDir), {
    name: "DataFolderInUseError",
    message: `Cannot start the embedded PostgreSQL in ${folder.dataDir}/postgres: ` +
      "another Rookery process uses this data folder",
  });
  assert.deepEqual(await findEmbeddedPostgres(folder.dataDir), owner.connection);
  const attached = await useEmbeddedPostgres({ dataDir: folder.dataDir });
  await attached.stop();
  assert.equal(await ask(attached.connection, "select 1 as answer"), 1);
});

Deno.test("startEmbeddedPostgres() refuses a folder of another major version and names the remedy", async () => {
  await using folder = await clusterFolder();
  await (await start(folder.dataDir)).stop();
  await Deno.writeTextFile(`${folder.dataDir}/postgres/PG_VERSION`, "17\n");
  await assert.rejects(
    start(folder.dataDir),
    /written by PostgreSQL 17, .* PostgreSQL 18.*pg_dump/,
  );
  assert.equal(await findEmbeddedPostgres(folder.dataDir), undefined);
});

Deno.test("startEmbeddedPostgres() is not disturbed by the pid file of a program that is not PostgreSQL", async () => {
  await using folder = await clusterFolder();
  await (await start(folder.dataDir)).stop();
  const pidFile = `${folder.dataDir}/postgres/postmaster.pid`;
  await Deno.writeTextFile(pidFile, `${Deno.pid}\n${folder.dataDir}/postgres\n`, { mode: 0o600 });
  await using cluster = await start(folder.dataDir);
  assert.equal(await ask(cluster.connection, "select 1 as answer"), 1);
});

Deno.test("startEmbeddedPostgres() stops when its signal says so", async () => {
  await using folder = await closedFolder();
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  await assert.rejects(start(folder.dataDir, { signal }), reason);
  await using cluster = await start(folder.dataDir);
  assert.equal(await ask(cluster.connection, "select 1 as answer"), 1);
});

Deno.test("kill -9 of the process takes PostgreSQL with it, and the next start finds the data", async () => {
  await using folder = await clusterFolder();
  const first = await startClusterProcess(folder.dataDir);
  const made = "create table kept (answer integer); insert into kept values (7) returning answer";
  await using database = connectDatabase(first.connection, {
    poolSize: 1,
    maxLifetimeSeconds: null,
  });
  await database.sql.unsafe(made).simple();
  const pid = await postmasterPid(folder.dataDir);
  await first.kill("SIGKILL");
  await first[Symbol.asyncDispose]();
  await until(async () => !await exists(`/proc/${pid}`), "PostgreSQL to end");
  await until(async () => !await exists(first.connection.host), "the socket's folder to go");
  await using cluster = await start(folder.dataDir);
  assert.equal(await ask(cluster.connection, "select answer from kept"), 7);
});

Deno.test("kill -9 of everything at once leaves a stale pid file that the next start gets over", async () => {
  await using folder = await clusterFolder();
  const first = await startClusterProcess(folder.dataDir);
  const pid = await postmasterPid(folder.dataDir);
  const supervisor = await parentOf(pid);
  // In one go: what is left of the supervisor would else shut PostgreSQL down in good order.
  Deno.kill(supervisor, "SIGKILL");
  Deno.kill(pid, "SIGKILL");
  await first.kill("SIGKILL");
  await first[Symbol.asyncDispose]();
  assert.ok(await exists(`${folder.dataDir}/postgres/postmaster.pid`));
  await using cluster = await start(folder.dataDir);
  assert.equal(await ask(cluster.connection, "select 1 as answer"), 1);
  assert.equal(await exists(first.connection.host), false, "the old socket's folder is cleaned up");
});

Deno.test("an orphaned PostgreSQL is stopped before the next start", async () => {
  await using folder = await clusterFolder();
  const first = await startClusterProcess(folder.dataDir);
  const pid = await postmasterPid(folder.dataDir);
  Deno.kill(await parentOf(pid), "SIGSTOP");
  const supervisor = await parentOf(pid);
  await first.kill("SIGKILL");
  Deno.kill(supervisor, "SIGKILL");
  await first[Symbol.asyncDispose]();
  await using cluster = await start(folder.dataDir);
  assert.equal(await ask(cluster.connection, "select 1 as answer"), 1);
  assert.notEqual(await postmasterPid(folder.dataDir), pid);
});

Deno.test("Ctrl-C leaves PostgreSQL alone until the process has drained", async () => {
  await using folder = await clusterFolder();
  await using held = await startClusterProcess(folder.dataDir);
  await held.kill("SIGINT");
  assert.deepEqual(await held.nextLine(), { answer: 42 });
  assert.equal(await exists(held.connection.host), false);
});

asNobody(
  "as root where user namespaces are forbidden, PostgreSQL runs as nobody, and back again",
  async () => {
    await using folder = await closedFolder();
    const programs = await Deno.makeTempDir();
    try {
      const refusal = "#!/bin/sh\necho 'unshare: Operation not permitted' >&2\nexit 1\n";
      await Deno.writeTextFile(join(programs, "unshare"), refusal, { mode: 0o755 });
      const PATH = `${programs}:${Deno.env.get("PATH")}`;
      {
        await using held = await startClusterProcess(folder.dataDir, { env: { PATH } });
        assert.equal(await ownerOf(await postmasterPid(folder.dataDir)), 65534);
        await held.kill("SIGINT");
        await held.nextLine();
      }
      await using cluster = await start(folder.dataDir);
      assert.equal(await ask(cluster.connection, "select 1 as answer"), 1);
      assert.equal(await ownerOf(await postmasterPid(folder.dataDir)), 0);
    } finally {
      await Deno.remove(programs, { recursive: true });
    }
  },
);

asNobody("a user who is not root runs the cluster as that user", async () => {
  await using folder = await closedFolder();
  const parent = join(folder.dataDir, "..");
  await Deno.chown(parent, 65534, 65534);
  const env = { HOME: parent, DENO_DIR: join(parent, "deno") };
  await using held = await startClusterProcess(folder.dataDir, { uid: 65534, env });
  assert.equal(await ownerOf(await postmasterPid(folder.dataDir)), 65534);
  assert.equal(((await Deno.stat(folder.dataDir)).mode ?? 0) & 0o777, 0o700);
  await held.kill("SIGINT");
  assert.deepEqual(await held.nextLine(), { answer: 42 });
});

async function ownerOf(pid: number): Promise<number> {
  return Number(/^Uid:\s+(\d+)/m.exec(await Deno.readTextFile(`/proc/${pid}/status`))?.[1]);
}

async function parentOf(pid: number): Promise<number> {
  return Number(/^PPid:\s+(\d+)/m.exec(await Deno.readTextFile(`/proc/${pid}/status`))?.[1]);
}
