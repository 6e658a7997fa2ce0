/**
 * `deno task mutants [--only TEXT] [--trusting]`: takes each guard of the list away in a copy of the tree and runs the tests
 * that have to notice. One line for each guard, a total, and exit code 1 when one is not missed. Before that the same tests
 * must pass with all guards in place; `--trusting` takes that for granted.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openTestServer } from "../support/test_server.ts";
import { type Guard, GUARDS } from "./guards.ts";
import { makeCopy, type Verdict, type WorkingCopy } from "./working_copy.ts";

const ROOT = join(import.meta.dirname ?? ".", "..", "..");
const AT_A_TIME = 2;

/** One thing after the other from the list, in as many copies as there are. */
async function inCopies<Item>(
  items: readonly Item[],
  copies: readonly WorkingCopy[],
  run: (item: Item, copy: WorkingCopy) => Promise<void>,
): Promise<void> {
  const left = [...items];
  await Promise.all(copies.map(async (copy) => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await run(item, copy);
  }));
}

/** Whether the tests pass as the tree is; otherwise they would catch anything. */
async function passesWithGuards(
  guards: readonly Guard[],
  copies: readonly WorkingCopy[],
): Promise<boolean> {
  const sets = new Map(guards.map((guard) => [JSON.stringify([guard.tests, guard.filter]), guard]));
  let passes = true;
  await inCopies([...sets.values()], copies, async (guard, copy) => {
    const verdict = await copy.run(guard, { mutated: false });
    if (verdict.ended === "passed") return;
    passes = false;
    print(`fails with all guards in place: ${guard.tests.join(" ")}: ${wordsFor(verdict)}`);
  });
  return passes;
}

function wordsFor(verdict: Verdict): string {
  if (verdict.ended === "failed") return `by "${verdict.test}"`;
  if (verdict.ended === "never") return "undecided: the tests did not end in time";
  return verdict.ended === "broken" ? `nothing ran: ${verdict.output.slice(-2_000)}` : "";
}

function isCaught({ ended }: Verdict): boolean {
  return ended === "failed";
}

async function takeEachAway(
  guards: readonly Guard[],
  copies: readonly WorkingCopy[],
): Promise<number> {
  let caught = 0;
  await inCopies(guards, copies, async (guard, copy) => {
    const startedAt = performance.now();
    const verdict = await copy.run(guard, { mutated: true });
    if (isCaught(verdict)) caught++;
    const seconds = Math.round((performance.now() - startedAt) / 1_000);
    const word = isCaught(verdict) ? "caught    " : "not caught";
    print(`${word}  ${guard.name} (${seconds} s) ${wordsFor(verdict)}`.trimEnd());
  });
  return caught;
}

function print(line: string): void {
  // deno-lint-ignore no-console -- what this program is for
  console.log(line);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    args: Deno.args,
    options: { only: { type: "string", default: "" }, trusting: { type: "boolean" } },
  });
  const guards = GUARDS.filter(({ name }) => name.includes(values.only));
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => interrupted.abort(new Error(`ended by ${signal}`)));
  }
  await using life = new AsyncDisposableStack();
  const server = await openTestServer(Deno.env.get("ROOKERY_TEST_DATABASE_URL"));
  life.defer(async () => void await server.close());
  const options = { database: JSON.stringify(server.address), signal: interrupted.signal };
  const copies = await Promise.all(
    Array.from({ length: AT_A_TIME }, async () => life.use(await makeCopy(ROOT, options))),
  );
  const startedAt = performance.now();
  if (!values.trusting && !await passesWithGuards(guards, copies)) return 1;
  const caught = await takeEachAway(guards, copies);
  const seconds = Math.round((performance.now() - startedAt) / 1_000);
  const missed = guards.length - caught;
  print(`guards ${guards.length}, caught ${caught}, not caught ${missed}, seconds ${seconds}`);
  return missed === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
