import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { databaseUrl } from "../../control-plane/database/connect.ts";
import { TextLines } from "../../control-plane/database/text_lines.ts";
import { ALONE, LONGEST, SYSTEM } from "./group_tests.ts";
import type { TestServerAddress } from "./test_server.ts";

const RUNNER = fileURLToPath(new URL("run_tests.ts", import.meta.url));
const SUPPORT = new URL(".", import.meta.url).href;

interface RunningTests extends AsyncDisposable {
  /** Where the run keeps its temporary files; empty before and after. */
  readonly temp: string;
  readonly child: Deno.ChildProcess;
}

/** Runs `deno task test` on one test file with this text, or on all files of a tree. */
async function runTests(
  tests: string | Readonly<Record<string, string>>,
  env: Record<string, string> = {},
  flags: readonly string[] = [],
): Promise<RunningTests> {
  const folder = await Deno.makeTempDir();
  const temp = join(folder, "t");
  const tree = join(folder, "tree");
  for (const path of [temp, tree]) await Deno.mkdir(path);
  const files = typeof tests === "string" ? { "example_test.ts": tests } : tests;
  for (const [name, text] of Object.entries(files)) {
    await Deno.mkdir(dirname(join(tree, name)), { recursive: true });
    await Deno.writeTextFile(join(tree, name), text);
  }
  const named = typeof tests === "string" ? [join(tree, "example_test.ts")] : [];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", RUNNER, "--no-check", ...flags, ...named],
    cwd: named.length > 0 ? fileURLToPath(new URL("../..", import.meta.url)) : tree,
    env: {
      TMPDIR: temp,
      // A server of its own: the end of a run is what is tested, unless `env` says otherwise.
      ROOKERY_TEST_DATABASE: "",
      ROOKERY_TEST_DATABASE_URL: "",
      ROOKERY_REQUIRE_LIVE: "",
      NO_COLOR: "1",
      ...env,
    },
    stdin: "null",
    stdout: "piped",
    stderr: "null",
    // A group of its own, so that a test can kill all of it at once.
    detached: true,
  }).spawn();
  let ended = false;
  const status = child.status.then(() => ended = true);
  const remove = async () => {
    // A test that failed in the middle must not leave its run behind.
    if (!ended) process.kill(-child.pid, "SIGKILL");
    await status;
    await Deno.remove(folder, { recursive: true });
  };
  return { temp, child, [Symbol.asyncDispose]: remove };
}

/** For runs whose own server is not what is tested: one is started already, and to start another takes seconds. */
function sharedServer(): Record<string, string> {
  const given = Deno.env.get("ROOKERY_TEST_DATABASE");
  if (!given) return {};
  const { server }: TestServerAddress = JSON.parse(given);
  return { ROOKERY_TEST_DATABASE_URL: databaseUrl(server) };
}

async function listOf(folder: string): Promise<readonly string[]> {
  return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
}

const SKIPPING = `
import { skipUnless } from "${SUPPORT}skip.ts";
Deno.test("one passes", () => {});
const live = skipUnless(false, "FRR is not installed");
live("backs up FRR", () => {});
live("backs up FRR again", () => {});
`;

Deno.test("run_tests says what it skipped and why, and counts it as neither passed nor failed", async () => {
  await using run = await runTests(SKIPPING, sharedServer());
  const { code, stdout } = await run.child.output();
  const lines = new TextDecoder().decode(stdout).trimEnd().split("\n").slice(-2);
  assert.deepEqual(lines, ["1 passed, 0 failed, 2 skipped", "skipped 2: FRR is not installed"]);
  assert.equal(code, 0);
  assert.deepEqual(await listOf(run.temp), []);
});

Deno.test("run_tests fails a skipped test under ROOKERY_REQUIRE_LIVE", async () => {
  await using run = await runTests(SKIPPING, { ...sharedServer(), ROOKERY_REQUIRE_LIVE: "1" });
  const { code, stdout } = await run.child.output();
  assert.equal(new TextDecoder().decode(stdout).trimEnd().split("\n").at(-1), "1 passed, 2 failed");
  assert.equal(code, 1);
});

const LEAVING = `
import { appendFileSync } from "node:fs";
Deno.test({ name: "leaves things", sanitizeOps: false, sanitizeResources: false, fn: async () => {
  const { default: postgres } = await import("postgres");
  const { server, prefix } = JSON.parse(Deno.env.get("ROOKERY_TEST_DATABASE"));
  const sql = postgres({ ...server, max: 1 });
  await sql.unsafe("create database " + prefix + "left");
  await sql.end();
  Deno.writeTextFileSync(Deno.env.get("TMPDIR") + "/left.txt", "");
  new Deno.Command("sleep", { args: ["600"], stdout: "null", stderr: "null", detached: true }).spawn().unref();
} });
`.replace('await import("postgres")', `await import("${import.meta.resolve("postgres")}")`);

Deno.test("run_tests fails a run that leaves a database, a process or a file, and removes them", async () => {
  await using run = await runTests(LEAVING);
  const { code, stdout } = await run.child.output();
  const text = new TextDecoder().decode(stdout);
  assert.match(text, /^left behind: database rookery_test_\w+_left$/m);
  assert.match(text, /^left behind: temporary file left.txt$/m);
  const pid = /^left behind: process (\d+) \(\S*sleep 600\)$/m.exec(text)?.[1];
  assert.ok(pid, text);
  await assert.rejects(Deno.stat(`/proc/${pid}/cwd`), Deno.errors.NotFound);
  assert.match(text, /^1 passed, 1 failed$/m);
  assert.equal(code, 1);
  assert.deepEqual(await listOf(run.temp), []);
});

Deno.test("run_tests fails for a file that cannot be loaded", async () => {
  await using run = await runTests("throw new Error('no')", sharedServer());
  const { code, stdout } = await run.child.output();
  assert.match(new TextDecoder().decode(stdout), /^0 passed, 1 failed$/m);
  assert.equal(code, 1);
});

const HOOKED = `
const open = [];
Deno.test.beforeAll(() => {
  if (globalThis.inUse) throw new Error("the file before has not ended");
  globalThis.inUse = true;
  open.push(Deno.openSync("/dev/null"));
});
Deno.test("NAME finds what its hook opened", () => {
  if (open.length !== 1) throw new Error("there is nothing");
});
Deno.test.afterAll(() => {
  for (const file of open) file.close();
  globalThis.inUse = false;
});
`;

Deno.test("run_tests puts files into one isolate, where each has its hooks around its own tests", async () => {
  const tree = Object.fromEntries(
    ["a", "b", "c"].map((name) => [`${name}_test.ts`, HOOKED.replace("NAME", name)]),
  );
  await using run = await runTests(tree, sharedServer());
  const { code, stdout } = await run.child.output();
  const text = new TextDecoder().decode(stdout);
  const ran = text.split("\n").filter((line) => line.endsWith("ms)") || line.endsWith("µs)"))
    .map((line) => line.replace(/^\S+ => | \.\.\. .*$/g, ""));
  assert.deepEqual(
    ran.slice(0, 9),
    ["c", "b", "a"].flatMap((name) => [
      `hooks of ${name}_test.ts: before all`,
      `${name} finds what its hook opened`,
      `hooks of ${name}_test.ts: after all`,
    ]),
  );
  assert.match(text, /^3 passed, 0 failed$/m);
  assert.equal(code, 0);
});

Deno.test("run_tests runs the tests of Rookery, and by a flag those of its programs or its tools instead", async () => {
  const restart = "tests/fleet/restart_test.ts";
  const files = ["agent/a_test.ts", "tests/api/b_test.ts", "tests/bench/c_test.ts", restart];
  const tree = Object.fromEntries(files.map((file) => [file, `Deno.test("${file}", () => {});`]));
  const ranWith = async (...flags: readonly string[]) => {
    await using run = await runTests(tree, sharedServer(), flags);
    const { code, stdout } = await run.child.output();
    assert.equal(code, 0);
    const text = new TextDecoder().decode(stdout);
    return files.filter((file) => text.includes(`=> ${file} ... ok`));
  };
  assert.deepEqual(await ranWith(), ["agent/a_test.ts", "tests/api/b_test.ts"]);
  assert.deepEqual(await ranWith("--tools"), ["tests/bench/c_test.ts"]);
  assert.deepEqual(await ranWith("--system"), [restart]);
  assert.deepEqual(await ranWith("./tests/fleet", "tests/bench/"), [
    "tests/bench/c_test.ts",
    restart,
  ]);
  assert.deepEqual(await ranWith("--whole"), files.filter((file) => !file.includes("bench")));
});

Deno.test("run_tests --shuffle says its seed, which gives the same order of files again", async () => {
  const files = Array.from({ length: 6 }, (_, n) => `tests/api/f${n}_test.ts`);
  const tree = Object.fromEntries(files.map((file) => [file, `Deno.test("${file}", () => {});`]));
  const orderOf = async (flag: string) => {
    await using run = await runTests(tree, sharedServer(), [flag]);
    const text = new TextDecoder().decode((await run.child.output()).stdout);
    const seed = /^shuffled: --shuffle=(\d+) /m.exec(text)?.[1] ?? assert.fail(text);
    return { seed, order: [...text.matchAll(/=> (\S+) \.\.\. ok/g)].map(([, file]) => file) };
  };
  const { seed, order } = await orderOf("--shuffle");
  assert.deepEqual(order.toSorted(), files);
  assert.deepEqual(await orderOf(`--shuffle=${seed}`), { seed, order });
  const [one, other] = [await orderOf("--shuffle=1"), await orderOf("--shuffle=2")];
  assert.notDeepEqual(one.order, other.order);
});

Deno.test("every file that is grouped by its name is there", async () => {
  const root = join(import.meta.dirname ?? ".", "..", "..");
  for (const file of [...LONGEST, ...SYSTEM, ...ALONE]) await Deno.stat(join(root, file));
});

const BROKEN = {
  "deno.json": `{ "test": { "sanitizeResources": true } }`,
  "fails_test.ts": `Deno.test("fails", () => { throw new Error("as it should"); });`,
  "hook_test.ts": `Deno.test.afterAll(() => { throw new Error("not closed"); });
Deno.test("has a hook that fails", () => {});`,
  "leaks_test.ts": `Deno.test("leaks", () => void Deno.openSync("/dev/null"));`,
  "throws_test.ts": `throw new Error("at its top");`,
  "wrong_test.ts": `import "./nowhere.ts";`,
};

Deno.test("run_tests names each file of a group that fails, leaks or cannot be loaded, and runs the others", async () => {
  const passes = `Deno.test("passes", () => {});`;
  const tree = { "a_test.ts": passes, ...BROKEN, "z_test.ts": passes };
  await using run = await runTests(tree, sharedServer());
  const { code, stdout } = await run.child.output();
  const text = new TextDecoder().decode(stdout);
  const failures = text.slice(text.indexOf(" FAILURES ")).split("\n")
    .flatMap((line) => /^(.*) => /.exec(line)?.[1] ?? []);
  assert.deepEqual(failures.toSorted(), [
    "fails",
    "hooks of hook_test.ts: after all",
    "leaks",
    "throws_test.ts can be loaded",
    "wrong_test.ts can be loaded",
  ]);
  assert.match(text, /^fails => \.\/fails_test\.ts:1:6$/m);
  assert.match(text, /^3 passed, 5 failed$/m);
  assert.equal(code, 1);
});

const WAITING = `
import { plantCluster } from "${SUPPORT}cluster_seed.ts";
import { testDatabase } from "${SUPPORT}database.ts";
import { startEmbeddedPostgres } from "${SUPPORT}../../control-plane/database/embedded.ts";
const database = testDatabase();
Deno.test("waits", async () => {
  const dataDir = Deno.env.get("TMPDIR") + "/data";
  await plantCluster(dataDir);
  await startEmbeddedPostgres({ dataDir, durable: false });
  await database.sql\`select 1\`;
  console.log("waiting for ever");
  await new Promise((resolve) => setTimeout(resolve, 600_000));
});
`;

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`run_tests leaves nothing after ${signal}`, async () => {
    await using run = await runTests(WAITING);
    const said: string[] = [];
    for await (const line of run.child.stdout.pipeThrough(new TextLines())) {
      said.push(line);
      if (line.includes("waiting for ever")) run.child.kill(signal);
    }
    assert.equal((await run.child.status).code, 130, said.join("\n"));
    assert.deepEqual(await listOf(run.temp), []);
    assert.deepEqual(await processesIn(run.temp), []);
  });
}

Deno.test("run_tests removes what a killed run left, and nothing of one that runs", async () => {
  await using killed = await runTests(WAITING);
  const ofKilled = readOutput(killed);
  await ofKilled.waiting;
  const cluster = await clusterOf(killed.child.pid);
  await using running = await runTests(WAITING, { TMPDIR: killed.temp });
  const ofRunning = readOutput(running);
  await ofRunning.waiting;
  const runningCluster = await clusterOf(running.child.pid);
  assert.equal((await runsIn(killed.temp)).length, 2);
  process.kill(-killed.child.pid, "SIGKILL");
  await killed.child.status;
  await using next = await runTests(SKIPPING, { TMPDIR: killed.temp });
  assert.equal((await next.child.output()).code, 0);
  await assert.rejects(Deno.stat(cluster), Deno.errors.NotFound);
  assert.ok((await Deno.stat(runningCluster)).isDirectory);
  assert.equal((await runsIn(killed.temp)).length, 1);
  running.child.kill("SIGINT");
  await running.child.status;
  assert.deepEqual(await runsIn(killed.temp), []);
  await Promise.all([ofKilled.ended, ofRunning.ended]);
});

/** Reads what a run of WAITING says, to its end. */
function readOutput({ child }: RunningTests): { waiting: Promise<void>; ended: Promise<void> } {
  const { promise: waiting, resolve } = Promise.withResolvers<void>();
  const read = async () => {
    for await (const line of child.stdout.pipeThrough(new TextLines())) {
      if (line.includes("waiting for ever")) resolve();
    }
  };
  return { waiting, ended: read() };
}

async function runsIn(temp: string): Promise<readonly string[]> {
  return (await listOf(temp)).filter((name) => name.startsWith("rookery-run-"));
}

/** The data folder of a run's cluster: its lock is held open by the runner. */
async function clusterOf(pid: number): Promise<string> {
  for (const fd of await listOf(`/proc/${pid}/fd`)) {
    const path = await Deno.readLink(`/proc/${pid}/fd/${fd}`).catch(() => "");
    if (/rookery-cluster-\w+\/postgres\.lock$/.test(path)) return dirname(path);
  }
  return assert.fail("the run has no cluster");
}

/** The processes that work below a folder: PostgreSQL does. */
async function processesIn(folder: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of await listOf("/proc")) {
    const cwd = await Deno.readLink(`/proc/${pid}/cwd`).catch(() => "");
    if (cwd.startsWith(folder)) found.push(`${pid} ${cwd}`);
  }
  return found;
}
