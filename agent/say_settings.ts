import type { z } from "zod";

/** What is wrong with a value that should be an object with certain names. */
export function sayObject({ code, keys }: z.core.$ZodRawIssue, names: readonly string[]): string {
  if (code !== "unrecognized_keys") return "must be an object, written { … }";
  const unknown = (keys as readonly string[]).map((key) => `"${key}"`).join(", ");
  return `does not know ${unknown}: there are ${listed(names)}`;
}

/** `a, b and c`. */
function listed(names: readonly string[]): string {
  return [names.slice(0, -1).join(", "), names.at(-1)].filter((part) => part !== "").join(" and ");
}
