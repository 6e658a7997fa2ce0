import { z } from "zod";

type Issue = z.core.$ZodRawIssue;

/**
 * What is wrong with a field in words for people, to be read after the field's name: "is required". For checks that bring
 * no words of their own; undefined leaves it to zod.
 */
export function wordsOf(issue: Issue): string | undefined {
  if (issue.input === undefined && issue.code !== "unrecognized_keys") return "is required";
  switch (issue.code) {
    case "invalid_type":
      return TYPES[issue.expected] ?? `must be of the type ${issue.expected}`;
    case "invalid_value":
      return valueWords(issue);
    case "invalid_format":
      return FORMATS[issue.format] ?? "does not have the right form";
    case "too_small":
      return sizeWords(issue.origin, { word: "least", limit: Number(issue.minimum) });
    case "too_big":
      return sizeWords(issue.origin, { word: "most", limit: Number(issue.maximum) });
    case "unrecognized_keys":
      return "is not known here";
    case "invalid_union":
      return unionWords(issue);
    case "invalid_key":
      return "is no name that is allowed here";
  }
  return undefined;
}

const TYPES: Readonly<Record<string, string>> = {
  string: "must be text",
  number: "must be a number",
  int: "must be a whole number",
  boolean: "must be true or false",
  array: "must be a list",
  object: "must be an object",
  record: "must be an object",
};

const FORMATS: Readonly<Record<string, string>> = {
  uuid: "must be a UUID",
  datetime: "must be a time such as 2026-01-31T12:00:00Z",
};

function valueWords(issue: Extract<Issue, { code?: "invalid_value" }>): string {
  if (issue.expected === "stringbool") return "must be true or false";
  const values = issue.values.map(String);
  return values.length === 1 ? `must be ${values[0]}` : `must be one of ${values.join(", ")}`;
}

function unionWords(issue: Extract<Issue, { code?: "invalid_union" }>): string {
  const options = Array.isArray(issue.options) ? issue.options.map(String) : [];
  return options.length === 0
    ? "has none of the forms that are allowed here"
    : `must be one of ${options.join(", ")}`;
}

const UNITS: Readonly<Record<string, readonly [one: string, many: string]>> = {
  string: ["character", "characters"],
  array: ["entry", "entries"],
};

function sizeWords(
  origin: string,
  { word, limit }: { readonly word: "least" | "most"; readonly limit: number },
): string {
  const units = UNITS[origin];
  if (!units) return `must be at ${word} ${limit}`;
  if (word === "least" && limit === 1) return "must not be empty";
  return `must have at ${word} ${limit} ${units[limit === 1 ? 0 : 1]}`;
}
