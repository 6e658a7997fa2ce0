/** Tests that need something which may not be installed. */
import { appendFileSync } from "node:fs";

/** Registers a test, as `Deno.test(name, run)` does. */
export type RegisterTest = (
  name: string,
  run: (t: Deno.TestContext) => void | Promise<void>,
) => void;

/**
 * `Deno.test` when `condition` holds. Otherwise the tests registered with it are skipped and the summary of `deno task test`
 * says `why`; under ROOKERY_REQUIRE_LIVE=1 they fail instead, so that a run which must be complete cannot pass by omission.
 */
export function skipUnless(condition: boolean, why: string): RegisterTest {
  if (condition) return (name, run) => Deno.test(name, run);
  if (Deno.env.get("ROOKERY_REQUIRE_LIVE") === "1") return (name) => registerFailure(name, why);
  return (name, run) => {
    Deno.test.ignore(name, run);
    record(name, why);
  };
}

function registerFailure(name: string, why: string): void {
  Deno.test(name, () => {
    throw new Error(`Cannot skip this test: ROOKERY_REQUIRE_LIVE is set, and ${why}`);
  });
}

/** One skipped test, as a line of the file that ROOKERY_TEST_SKIPS names. */
export interface Skip {
  readonly name: string;
  readonly why: string;
}

function record(name: string, why: string): void {
  const file = Deno.env.get("ROOKERY_TEST_SKIPS");
  const skip: Skip = { name, why };
  // One short append: lines of files that load in parallel do not mix.
  if (file) appendFileSync(file, `${JSON.stringify(skip)}\n`);
}
