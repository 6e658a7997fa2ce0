import { z } from "zod";
import { isWhole } from "./page.ts";
import { Tag } from "./tags.ts";

const MOST_CHARACTERS = 1_000;
const MOST_NAMES = 100;
/** Brackets and `not` within each other. */
const MOST_LEVELS = 20;

/** What an expression asks of a device's tags. */
export type TagCondition =
  | { readonly tag: string }
  | { readonly not: TagCondition }
  | { readonly and: readonly TagCondition[] }
  | { readonly or: readonly TagCondition[] };

/** What is wrong with an expression, and at which character (from 1). */
export class TagExpressionError extends Error {
  override name = "TagExpressionError";
  constructor(problem: string, readonly position: number) {
    super(`${problem} at character ${position}`);
  }
}

/**
 * Which devices, by their tags: names, `and`, `or`, `not` and brackets, such as `core and (edge or wan) and not lab`. `not`
 * binds before `and`, `and` before `or`. A name with blanks or brackets, or that is one of the three words, stands in
 * double quotes. Large and small letters make no difference.
 */
export const TagExpression = z.string().max(MOST_CHARACTERS).refine(isWhole, "is broken text")
  .superRefine((text, context) => {
    const problem = problemOf(text);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  }).meta({ id: "TagExpression", example: "core and (edge or wan) and not lab" });

function problemOf(text: string): string | undefined {
  try {
    parseTagExpression(text);
    return undefined;
  } catch (error) {
    if (error instanceof TagExpressionError) return error.message;
    throw error;
  }
}

interface Token {
  readonly kind: "name" | "and" | "or" | "not" | "(" | ")" | "end";
  readonly text: string;
  readonly position: number;
}

/** Reads an expression, in time linear to its length. Throws a TagExpressionError. */
export function parseTagExpression(text: string): TagCondition {
  const tokens = readTokens(text);
  const reader = new Reader(tokens);
  const condition = reader.either(0);
  reader.take("end", "expected and, or, or the end");
  return condition;
}

/** One alternative for each kind, none of which can begin what another one can: no step is ever taken back. */
const TOKEN = /\s*(?:(?<bracket>[()])|"(?<quoted>[^"]*)"|(?<bare>[^\s()"]+))/uy;

function readTokens(text: string): readonly Token[] {
  const tokens: Token[] = [];
  const end = text.trimEnd().length;
  let names = 0;
  for (let at = 0; at < end;) {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(text);
    if (!match) {
      throw new TagExpressionError("a quotation mark is not closed", positionOf(text, at));
    }
    at = TOKEN.lastIndex;
    const token = tokenOf(match);
    if (token.kind === "name" && ++names > MOST_NAMES) {
      throw new TagExpressionError(`more than ${MOST_NAMES} names`, token.position);
    }
    tokens.push(token);
  }
  return [...tokens, { kind: "end", text: "", position: end + 1 }];
}

function positionOf(text: string, at: number): number {
  return at + (/^\s*/.exec(text.slice(at))?.[0].length ?? 0) + 1;
}

function tokenOf(match: RegExpExecArray): Token {
  const { bracket, quoted, bare } = match.groups ?? {};
  const position = positionOf(match.input, match.index);
  if (bracket === "(" || bracket === ")") return { kind: bracket, text: bracket, position };
  const word = bare?.toLowerCase();
  if (word === "and" || word === "or" || word === "not") {
    return { kind: word, text: word, position };
  }
  const name = Tag.safeParse(quoted ?? bare);
  if (name.success) return { kind: "name", text: name.data, position };
  throw new TagExpressionError(`a name ${name.error.issues[0]?.message}`, position);
}

class Reader {
  #next = 0;
  constructor(readonly tokens: readonly Token[]) {}

  either(level: number): TagCondition {
    const any = this.#listOf("or", () => this.#both(level));
    return any.length === 1 && any[0] ? any[0] : { or: any };
  }

  take(kind: Token["kind"], problem: string): Token {
    const token = this.#peek();
    if (token.kind !== kind) throw new TagExpressionError(problem, token.position);
    this.#next++;
    return token;
  }

  #both(level: number): TagCondition {
    const all = this.#listOf("and", () => this.#term(level));
    return all.length === 1 && all[0] ? all[0] : { and: all };
  }

  #listOf(word: "and" | "or", read: () => TagCondition): readonly TagCondition[] {
    const conditions = [read()];
    while (this.#peek().kind === word) {
      this.#next++;
      conditions.push(read());
    }
    return conditions;
  }

  #term(level: number): TagCondition {
    const { kind, position } = this.#peek();
    if (level > MOST_LEVELS) throw new TagExpressionError("too many levels", position);
    if (kind === "not") {
      this.#next++;
      return { not: this.#term(level + 1) };
    }
    if (kind !== "(") return { tag: this.take("name", "expected the name of a tag").text };
    this.#next++;
    const condition = this.either(level + 1);
    this.take(")", "expected and, or, or )");
    return condition;
  }

  #peek(): Token {
    return this.tokens[this.#next] ?? { kind: "end", text: "", position: 1 };
  }
}
