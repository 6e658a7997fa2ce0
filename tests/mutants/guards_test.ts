/** The list of guards fits the code; `deno task mutants` shows that each of them is missed. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { StaleGuardError, withoutGuard } from "./apply_edits.ts";
import { GUARDS } from "./guards.ts";

const ROOT = join(import.meta.dirname ?? ".", "..", "..");

Deno.test("withoutGuard() takes every guard of the list away, each from the place that it names", async () => {
  for (const guard of GUARDS) {
    for (const [file, text] of await withoutGuard(ROOT, guard)) {
      assert.notEqual(text, await Deno.readTextFile(join(ROOT, file)), guard.name);
    }
    for (const test of guard.tests) assert.ok((await Deno.stat(join(ROOT, test))).isFile, test);
  }
  assert.equal(new Set(GUARDS.map(({ name }) => name)).size, GUARDS.length, "two have one name");
});

Deno.test("withoutGuard() fails loudly where the code has changed", async () => {
  const [guard = assert.fail()] = GUARDS;
  const edits = [{ file: "README.md", find: "no such text stands there", replace: "" }];
  await assert.rejects(withoutGuard(ROOT, { ...guard, edits }), StaleGuardError);
});
