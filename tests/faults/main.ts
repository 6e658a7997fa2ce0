/**
 * `deno task faults`: a whole Rookery of processes that are killed, paused, cut off and lied to while jobs are ordered without
 * end; then a program that has no part in it checks the invariants from what everybody had written down.
 */
import { checkHistories } from "./check.ts";
import { type FaultsOptions, readOptions, USAGE } from "./options.ts";
import { untilUnwanted } from "../demo/until_unwanted.ts";
import { ProcessGroup } from "../support/processes.ts";
import { run, type RunOptions } from "./run.ts";
import { inOwnNamespace } from "./small_disk.ts";

const encoder = new TextEncoder();

function print(text: string): void {
  Deno.stdout.writeSync(encoder.encode(`${text}\n`));
}

function complain(text: string): void {
  Deno.stderr.writeSync(encoder.encode(`${text}\n`));
}

const INTERRUPTED = 130;
const WRONG_USE = 2;

async function main({ history, ...options }: FaultsOptions): Promise<number> {
  const interrupted = untilUnwanted();
  const histories = history ?? await Deno.makeTempDir({ prefix: "rookery-histories-" });
  await Deno.mkdir(histories, { recursive: true });
  if ((await Array.fromAsync(Deno.readDir(histories))).length > 0) {
    complain(`Cannot leave histories in ${histories}: it is not empty`);
    return WRONG_USE;
  }
  try {
    const played = play({ ...options, histories, say: complain });
    const ended = await Promise.race([played.ended.then(() => true), interrupted]);
    await played[Symbol.asyncDispose]();
    if (!ended) return INTERRUPTED;
    const { lines, violations } = await checkHistories(histories);
    for (const line of lines) print(line);
    return violations === 0 ? 0 : 1;
  } finally {
    if (history === undefined) await Deno.remove(histories, { recursive: true });
  }
}

/** A run, and how to end it before its time. */
function play(options: RunOptions): AsyncDisposable & { readonly ended: Promise<void> } {
  const life = new AsyncDisposableStack();
  const ended = (async () => {
    const group = life.use(await ProcessGroup.create("rookery-faults-"));
    await run({ group, stack: life }, options);
  })();
  // How it fails when it is ended is of no interest.
  ended.catch(() => {});
  return { ended, [Symbol.asyncDispose]: () => life.disposeAsync() };
}

async function runProgram(args: readonly string[]): Promise<number> {
  let options: FaultsOptions;
  try {
    options = readOptions(args);
  } catch (error) {
    complain(`${error instanceof Error ? error.message : error}\n\n${USAGE.trimEnd()}`);
    return WRONG_USE;
  }
  if (!options.help) {
    return await inOwnNamespace(import.meta.filename ?? "") ?? await main(options);
  }
  print(USAGE.trimEnd());
  return 0;
}

if (import.meta.main) {
  Deno.exit(
    await runProgram(Deno.args).catch((error) => {
      complain(`The run failed: ${error instanceof Error ? error.stack : error}`);
      return 1;
    }),
  );
}
