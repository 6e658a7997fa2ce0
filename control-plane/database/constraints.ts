import { ProblemError } from "@rookery/shared/problem.ts";

const UNIQUE_VIOLATION = "23505";
const FOREIGN_KEY_VIOLATION = "23503";

/** By constraint: the field that a duplicate is to be blamed on, and what to say. */
export type Duplicates = Readonly<Record<string, readonly [field: string, detail: string]>>;

/**
 * Runs a change and turns the database's refusals into ours: a duplicate into `conflict` with its field, a row
 * that others still need into `in-use`.
 */
export async function refuseDuplicates<Result>(
  duplicates: Duplicates,
  run: () => Promise<Result>,
): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    throw toProblem(error, duplicates);
  }
}

function toProblem(error: unknown, duplicates: Duplicates): unknown {
  if (!(error instanceof Error) || !("code" in error)) return error;
  const constraint = "constraint_name" in error ? String(error.constraint_name) : "";
  if (error.code === FOREIGN_KEY_VIOLATION) {
    return new ProblemError("in-use", "Something else still uses it.", { cause: error });
  }
  const known = duplicates[constraint];
  if (error.code !== UNIQUE_VIOLATION || !known) return error;
  const [field, detail] = known;
  return new ProblemError("conflict", `#/${field}: ${detail}`, {
    errors: [{ detail, pointer: `#/${field}` }],
    cause: error,
  });
}
