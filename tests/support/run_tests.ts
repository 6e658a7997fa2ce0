/**
 * `deno task test [arguments of deno test]`, `deno task test:system`, `deno task test:tools`: gives all test files one database
 * server, counts skipped tests by reason, and fails the run when anything is left behind: a database, a process, a temporary file.
 */
import { statSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import process from "node:process";
import { makeSeed } from "./cluster_seed.ts";
import { groupTests, type Part } from "./group_tests.ts";
import { endProcesses, listFolder } from "./left_behind.ts";
import { lockRun, RUN_PREFIX, sweepRuns } from "./sweep.ts";
import { countCases, readSkips, summarise } from "./test_report.ts";
import { openTestServer } from "./test_server.ts";

const PATIENCE_MS = 10_000;
// A test that waits for ever fails the run, and deno test names it as pending.
const MOST_MINUTES = 30;
const INTERRUPTED = 130;
/** For who has just checked the types. */
const UNCHECKED = "--no-check";
/** Which tests, instead of those of Rookery that are quick. */
const PARTS: Readonly<Record<string, readonly Part[]>> = {
  "--tools": ["tools"],
  "--system": ["system"],
  "--whole": ["system", "product"],
};
/**
 * Whoever runs this has the packages. Otherwise Deno 2.9.6 looks at each package of what is imported while it runs, as the files
 * of a group are, whether all of them are still there.
 */
const INSTALLED = "--node-modules-dir=manual";
/** The order of files, and which of them share an isolate. The tests of a file keep theirs: some tell one story. */
const SHUFFLE = /^--shuffle(?:=(\d{1,9}))?$/;
/** Whoever names files, or picks tests, gets each file in an isolate of its own. */
const GROUPED_WITH = /^--(?:clean|coverage)(?:=|$)/;

/** A run's folder: reports above, temporary files of the tests below. */
interface Run {
  readonly folder: string;
  readonly temp: string;
  readonly groups: string;
  readonly junit: string;
  readonly skips: string;
  readonly id: string;
}

interface Outcome {
  readonly code: number;
  readonly left: readonly string[];
}

async function main(): Promise<number> {
  const mistyped = Deno.args.includes(UNCHECKED) ? 0 : await checkTypes();
  if (mistyped !== 0) return mistyped;
  const run = await makeRun();
  try {
    using _lock = await lockRun(run.folder);
    await sweepRuns(dirname(run.folder));
    const interrupts = listenForInterrupts();
    const { code, left } = await runWithServer(run, interrupts).finally(interrupts.close);
    if (interrupts.seen()) return INTERRUPTED;
    return await report(run, { code, left });
  } finally {
    await Deno.remove(run.folder, { recursive: true });
  }
}

/** Of everything, as `deno task check` does; a moment when nothing was changed. */
async function checkTypes(): Promise<number> {
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["check", "--quiet", "control-plane", "agent", "shared", "tests"],
    cwd: join(import.meta.dirname ?? ".", "..", ".."),
    stdin: "null",
  }).spawn().status;
  return code;
}

async function makeRun(): Promise<Run> {
  const id = crypto.randomUUID();
  // Kept short: sockets stand below it, and their paths may have 107 bytes.
  const folder = await Deno.makeTempDir({ prefix: RUN_PREFIX });
  const [temp, groups] = [join(folder, "t"), join(folder, "groups")];
  await Deno.mkdir(temp);
  await Deno.mkdir(groups);
  // Test programs that run as another user must be able to enter.
  await Deno.chmod(folder, 0o711);
  await Deno.chmod(temp, 0o1777);
  const [junit, skips] = [join(folder, "junit.xml"), join(folder, "skips")];
  return { id, folder, temp, groups, junit, skips };
}

/** Ctrl-C, SIGTERM and the limit of a run: the tests are asked to end, then made to. */
interface Interrupts {
  readonly seen: () => boolean;
  readonly attach: (child: Deno.ChildProcess) => void;
  readonly close: () => void;
}

function listenForInterrupts(): Interrupts {
  let count = 0;
  let child: Deno.ChildProcess | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const onSignal = () => {
    count++;
    kill(child, count === 1 ? "SIGINT" : "SIGKILL");
    timer ??= setTimeout(() => kill(child, "SIGKILL"), PATIENCE_MS);
  };
  const limit = setTimeout(() => {
    const said = `Tests are ended: they have run for ${MOST_MINUTES} minutes.\n`;
    Deno.stderr.writeSync(new TextEncoder().encode(said));
    onSignal();
  }, MOST_MINUTES * 60_000);
  const signals = ["SIGINT", "SIGTERM"] as const;
  for (const name of signals) Deno.addSignalListener(name, onSignal);
  return {
    seen: () => count > 0,
    attach: (started) => {
      child = started;
      if (count > 0) kill(child, "SIGINT");
    },
    close: () => {
      clearTimeout(timer);
      clearTimeout(limit);
      for (const name of signals) Deno.removeSignalListener(name, onSignal);
    },
  };
}

function kill(child: Deno.ChildProcess | undefined, signal: Deno.Signal): void {
  try {
    child?.kill(signal);
  } catch {
    // It has ended already.
  }
}

async function runWithServer(run: Run, interrupts: Interrupts): Promise<Outcome> {
  const seed = await makeSeed(join(run.folder, "seed"));
  const server = await openTestServer(Deno.env.get("ROOKERY_TEST_DATABASE_URL"));
  const left: string[] = [];
  let code = 1;
  try {
    code = await runDenoTest(run, {
      interrupts,
      env: { ...seed, ROOKERY_TEST_DATABASE: JSON.stringify(server.address) },
    });
    left.push(...await endProcesses({ variable: `ROOKERY_TEST_RUN=${run.id}`, folder: run.temp }));
  } finally {
    left.push(...(await server.close()).map((name) => `database ${name}`));
  }
  left.push(...(await listFolder(run.temp)).map((name) => `temporary file ${name}`));
  return { code, left };
}

/** Of this tree. */
function isFolder(arg: string): boolean {
  return !isAbsolute(arg) && statSync(arg, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Says it, so that a run that failed can be run again in the same order. */
function readSeed(): number | undefined {
  const shuffle = Deno.args.map((arg) => SHUFFLE.exec(arg)).find(Boolean);
  if (!shuffle) return undefined;
  const seed = Number(shuffle[1] ?? crypto.getRandomValues(new Uint16Array(1))[0]);
  Deno.stdout.writeSync(new TextEncoder().encode(`shuffled: --shuffle=${seed} for this order\n`));
  return seed;
}

/** Two files more at a time than there are processors: tests wait for sockets and timers more than they compute. */
async function runDenoTest(
  run: Run,
  options: { readonly interrupts: Interrupts; readonly env: Record<string, string> },
): Promise<number> {
  // The types were checked once, for all: each thread that a test starts would be checked by itself.
  const given = Deno.args.filter((arg) =>
    arg !== UNCHECKED && !(arg in PARTS) && !SHUFFLE.test(arg)
  );
  const parts = Deno.args.map((arg) => PARTS[arg]).find(Boolean) ?? ["product"];
  const seed = readSeed();
  const folders = given.filter(isFolder);
  const others = given.filter((arg) => !isFolder(arg));
  const within = folders.length > 0 ? folders : undefined;
  const asked = others.every((arg) => GROUPED_WITH.test(arg))
    ? [...others, ...await groupTests(Deno.cwd(), { folder: run.groups, parts, seed, within })]
    : given;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", UNCHECKED, INSTALLED, "--parallel", `--junit-path=${run.junit}`, ...asked],
    env: {
      ...options.env,
      ROOKERY_TEST_SKIPS: run.skips,
      ROOKERY_TEST_RUN: run.id,
      TMPDIR: run.temp,
      DENO_JOBS: Deno.env.get("DENO_JOBS") ?? String(navigator.hardwareConcurrency + 2),
    },
    stdin: "null",
  }).spawn();
  options.interrupts.attach(child);
  return (await child.status).code;
}

async function report(run: Run, { code, left }: Outcome): Promise<number> {
  const counts = countCases(await readOrEmpty(run.junit));
  // A file that cannot be loaded stands in no report, but deno test says so with its exit code.
  const unreported = code !== 0 && counts.failed === 0 ? 1 : 0;
  const failed = counts.failed + unreported + (left.length > 0 ? 1 : 0);
  const lines = left.map((thing) => `left behind: ${thing}`);
  lines.push(summarise({ ...counts, failed }, readSkips(await readOrEmpty(run.skips))));
  await Deno.stdout.write(new TextEncoder().encode(`\n${lines.join("\n")}\n`));
  return failed > 0 ? code || 1 : 0;
}

async function readOrEmpty(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

if (import.meta.main) process.exitCode = await main();
