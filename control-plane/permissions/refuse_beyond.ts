import { ProblemError } from "@rookery/shared/problem.ts";
import type { Grants, UserCaller } from "../http/caller.ts";
import { findBeyond } from "./grants.ts";

/**
 * Refuses to let somebody give away, change or take away what they do not have themselves: whoever could make a role or a
 * user of more would only have to use it. `what` begins the sentence: "This role".
 */
export function refuseBeyond(caller: UserCaller, wanted: Grants, what: string): void {
  const name = findBeyond(caller.grants, wanted);
  if (name === undefined) return;
  throw new ProblemError("forbidden", `${what} reaches further with ${name} than you do yourself.`);
}
