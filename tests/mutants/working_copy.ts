/** Temporary copies of the tree, in which guards are taken away and tests are run. */
import { join } from "node:path";
import { withoutGuard } from "./apply_edits.ts";
import type { Guard } from "./guards.ts";

const NOT_COPIED = new Set([".git", "node_modules", "data", "dist", "coverage"]);
/** Longer than the tests take on a busy machine. What is not decided by then does not count as caught. */
const MOST_MS = 600_000;

/** How the tests ended without the guard, or with it when there is none to take away. */
export type Verdict =
  | { readonly ended: "passed" }
  | { readonly ended: "failed"; readonly test: string }
  | { readonly ended: "never" }
  | { readonly ended: "broken"; readonly output: string };

export interface WorkingCopy extends AsyncDisposable {
  /** Runs the guard's tests, after taking it away if that is asked for. */
  run(guard: Guard, options: { readonly mutated: boolean }): Promise<Verdict>;
}

/** Makes a copy; `signal` ends what runs in it. */
export async function makeCopy(
  root: string,
  { database, signal }: RunOptions,
): Promise<WorkingCopy> {
  const path = await Deno.makeTempDir({ prefix: "rookery-mutant-" });
  await copyFolder(root, path);
  await Deno.symlink(join(root, "node_modules"), join(path, "node_modules"));
  return {
    async run(guard, { mutated }) {
      const changed = mutated ? await withoutGuard(path, guard) : new Map<string, string>();
      const sound = await readFiles(path, changed.keys());
      await writeFiles(path, changed);
      try {
        return await runInTurn(path, guard, { database, signal });
      } finally {
        await writeFiles(path, sound);
      }
    },
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

async function readFiles(folder: string, names: Iterable<string>): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const name of names) texts.set(name, await Deno.readTextFile(join(folder, name)));
  return texts;
}

async function writeFiles(folder: string, texts: ReadonlyMap<string, string>): Promise<void> {
  for (const [name, text] of texts) await Deno.writeTextFile(join(folder, name), text);
}

async function copyFolder(from: string, to: string): Promise<void> {
  for await (const { name, isDirectory, isFile } of Deno.readDir(from)) {
    if (NOT_COPIED.has(name)) continue;
    if (isFile) await Deno.copyFile(join(from, name), join(to, name));
    if (!isDirectory) continue;
    await Deno.mkdir(join(to, name));
    await copyFolder(join(from, name), join(to, name));
  }
}

interface RunOptions {
  readonly database: string;
  readonly signal: AbortSignal;
}

/** The first file is where the guard is mostly missed; random histories say least, and take longest. */
async function runInTurn(cwd: string, guard: Guard, options: RunOptions): Promise<Verdict> {
  const [first = "", ...others] = guard.tests;
  const isRandom = (test: string) => test.includes("/model/");
  const turns = [
    [first],
    others.filter((test) => !isRandom(test)),
    others.filter(isRandom),
  ];
  let verdict: Verdict = { ended: "passed" };
  for (const tests of turns.filter((turn) => turn.length > 0)) {
    if (verdict.ended === "passed") verdict = await runTests(cwd, { ...guard, tests }, options);
  }
  return verdict;
}

async function runTests(
  cwd: string,
  { tests, filter, inSchema }: Guard,
  { database, signal }: RunOptions,
): Promise<Verdict> {
  const filtered = filter === undefined ? [] : ["--filter", filter];
  const timeout = AbortSignal.timeout(MOST_MS);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", "--cached-only", "--fail-fast", ...filtered, ...tests],
    cwd,
    env: {
      NO_COLOR: "1",
      // The same histories each time, and more of them than a run of the suite takes.
      ...{ ROOKERY_MODEL_SEED: "1", ROOKERY_MODEL_RUNS: "60", ROOKERY_MODEL_SHRINKS: "0" },
      // Without one, a file makes a server of its own, by the migrations of its tree.
      ROOKERY_TEST_DATABASE: inSchema ? "" : database,
    },
    stdin: "null",
    signal: AbortSignal.any([signal, timeout]),
  }).output();
  signal.throwIfAborted();
  const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  if (success) return / 0 passed/.test(output) ? { ended: "broken", output } : { ended: "passed" };
  if (timeout.aborted) return { ended: "never" };
  // The name may stand far from the word, when the test itself has written something.
  const test = /\n(.+) => \.\/.+\n/.exec(output)?.[1];
  return test === undefined ? { ended: "broken", output } : { ended: "failed", test };
}
