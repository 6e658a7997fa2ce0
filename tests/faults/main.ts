/**
 * `deno task faults`: a whole Rookery of processes that are killed, paused, cut off and lied to while jobs are ordered without
 * end; then a program that has no part in it checks the invariants from what everybody had written down.
 */
import { checkHistories } from "./check.ts";
import { type FaultsOptions, readOptions, USAGE } from "./options.ts";
import { run } from "./run.ts";
import { inOwnNamespace } from "./small_disk.ts";

const encoder = new TextEncoder();

function print(text: string): void {
  Deno.stdout.writeSync(encoder.encode(`${text}\n`));
}

function complain(text: string): void {
  Deno.stderr.writeSync(encoder.encode(`${text}\n`));
}

async function main({ history, ...options }: FaultsOptions): Promise<number> {
  const histories = history ?? await Deno.makeTempDir({ prefix: "rookery-histories-" });
  await Deno.mkdir(histories, { recursive: true });
  try {
    await run({ ...options, histories, say: complain });
    const { lines, violations } = await checkHistories(histories);
    for (const line of lines) print(line);
    return violations === 0 ? 0 : 1;
  } finally {
    if (history === undefined) await Deno.remove(histories, { recursive: true });
  }
}

async function runProgram(args: readonly string[]): Promise<number> {
  let options: FaultsOptions;
  try {
    options = readOptions(args);
  } catch (error) {
    complain(`${error instanceof Error ? error.message : error}\n\n${USAGE.trimEnd()}`);
    return 2;
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
