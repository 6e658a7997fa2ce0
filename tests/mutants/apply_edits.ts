import { join } from "node:path";
import type { Edit, Guard } from "./guards.ts";

/** A guard whose text is not where the list says: somebody changed the code, and the list has to follow. */
export class StaleGuardError extends Error {
  override name = "StaleGuardError";
}

/** The files of a guard without it, by path. Throws a StaleGuardError when an edit does not apply exactly once. */
export async function withoutGuard(root: string, guard: Guard): Promise<Map<string, string>> {
  const changed = new Map<string, string>();
  for (const edit of guard.edits) {
    const before = changed.get(edit.file) ?? await Deno.readTextFile(join(root, edit.file));
    changed.set(edit.file, applyEdit(before, edit, guard));
  }
  return changed;
}

function applyEdit(text: string, { file, find, replace }: Edit, { name }: Guard): string {
  const times = text.split(find).length - 1;
  if (times === 1) return text.replace(find, () => replace);
  throw new StaleGuardError(
    `Cannot take away the guard "${name}": its text stands ${times} times in ${file}, not once. ` +
      `Correct tests/mutants/guards.ts`,
  );
}
