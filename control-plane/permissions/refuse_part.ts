import { ProblemError } from "@rookery/shared/problem.ts";
import type { Scope } from "./scope.ts";

/** Refuses whoever reaches some sites only where all are concerned. `why` is the sentence that they read. */
export function refusePart(scope: Scope, why: string): void {
  if (!scope.all) throw new ProblemError("forbidden", why);
}
