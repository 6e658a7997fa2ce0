import { z } from "zod";
import { wordsOf } from "./field_words.ts";
import type { FieldError } from "./problem.ts";

// Wherever zod words a refusal: what was refused is known only there.
z.config({ customError: wordsOf });

/** Where a refused value was sent. */
export type InputPlace = "body" | "query" | "params" | "reply";

const PREFIX: Readonly<Record<InputPlace, string>> = {
  body: "#/",
  query: "?",
  params: ":",
  reply: "#/",
};
/** A hostile body must not buy a reply larger than itself. */
const MOST_ERRORS = 50;

/**
 * What zod refused, as the field errors of a problem: `#/hostname` for a body (a JSON pointer, RFC 6901, as a URI
 * fragment), `?limit` for a query, `:deviceId` for a part of the path. Never repeats the refused value.
 */
export function fieldErrors(error: z.core.$ZodError, place: InputPlace): FieldError[] {
  return error.issues.flatMap(pathsOf).slice(0, MOST_ERRORS).map(({ message, path }) => ({
    detail: message,
    pointer: PREFIX[place] + path.map(escapeStep).join("/"),
  }));
}

/** Fields that are not known are refused together; each is an error at its own place. */
function pathsOf(issue: z.core.$ZodIssue) {
  const { message, path } = issue;
  return issue.code === "unrecognized_keys"
    ? issue.keys.map((key) => ({ message, path: [...path, key] }))
    : [{ message, path }];
}

function escapeStep(step: PropertyKey): string {
  return String(step).slice(0, 200).replaceAll("~", "~0").replaceAll("/", "~1");
}
