import type { z } from "zod";
import type { FieldError } from "./problem.ts";

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
  return error.issues.slice(0, MOST_ERRORS).map((issue) => ({
    detail: issue.message,
    pointer: PREFIX[place] + issue.path.map(escapeStep).join("/"),
  }));
}

function escapeStep(step: PropertyKey): string {
  return String(step).slice(0, 200).replaceAll("~", "~0").replaceAll("/", "~1");
}
