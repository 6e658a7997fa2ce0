import assert from "node:assert/strict";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";

/** Awaits a refusal of this type, which blames this field where one is named. Returns it. */
export async function refusedAs(
  type: ProblemType,
  promise: Promise<unknown>,
  pointer?: string,
): Promise<ProblemError> {
  const error = await promise.then(() => undefined, (reason: unknown) => reason);
  assert.ok(error instanceof ProblemError, `expected ${type}, got ${String(error)}`);
  assert.equal(error.type, type, error.message);
  const pointers = error.errors.map((field) => field.pointer);
  if (pointer !== undefined) assert.ok(pointers.includes(pointer), `${pointer}: ${pointers}`);
  return error;
}
