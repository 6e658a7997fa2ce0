import assert from "node:assert/strict";
import {
  parseTagExpression,
  type TagCondition,
  TagExpression,
  TagExpressionError,
} from "./tag_expression.ts";

Deno.test("parseTagExpression() binds not before and, and before or, and brackets before all", () => {
  const cases: readonly (readonly [text: string, condition: TagCondition])[] = [
    ["core", { tag: "core" }],
    ["  Core\t", { tag: "Core" }],
    ["a and b or c", { or: [{ and: [{ tag: "a" }, { tag: "b" }] }, { tag: "c" }] }],
    ["a or b and c", { or: [{ tag: "a" }, { and: [{ tag: "b" }, { tag: "c" }] }] }],
    ["(a or b)and c", { and: [{ or: [{ tag: "a" }, { tag: "b" }] }, { tag: "c" }] }],
    ["not a and b", { and: [{ not: { tag: "a" } }, { tag: "b" }] }],
    ["NOT not a", { not: { not: { tag: "a" } } }],
    ["not (a OR b)", { not: { or: [{ tag: "a" }, { tag: "b" }] } }],
    ['"and" or "two words"or notary', {
      or: [{ tag: "and" }, { tag: "two words" }, { tag: "notary" }],
    }],
    ["rack:4/b_2.x-y or Tromsø", { or: [{ tag: "rack:4/b_2.x-y" }, { tag: "Tromsø" }] }],
  ];
  for (const [text, condition] of cases) {
    assert.deepEqual(parseTagExpression(text), condition, text);
  }
});

Deno.test("parseTagExpression() says what is wrong, and at which character", () => {
  const cases: readonly (readonly [text: string, problem: string, position: number])[] = [
    ["", "expected the name of a tag", 1],
    ["  ", "expected the name of a tag", 1],
    ["core and", "expected the name of a tag", 9],
    ["and core", "expected the name of a tag", 1],
    ["core edge", "expected and, or, or the end", 6],
    ["core  not edge", "expected and, or, or the end", 7],
    ["(core", "expected and, or, or )", 6],
    ["core)", "expected and, or, or the end", 5],
    ["()", "expected the name of a tag", 2],
    ['core or "edge', "a quotation mark is not closed", 9],
    ['""', "a name must not be empty", 1],
    ["a or b\0", "a name must not contain control characters", 6],
    ["x".repeat(51), "a name must have at most 50 characters", 1],
    ["not ".repeat(22) + "a", "too many levels", 85],
    ["(".repeat(900), "too many levels", 22],
    [Array(101).fill("a").join(" or "), "more than 100 names", 501],
  ];
  for (const [text, problem, position] of cases) {
    assert.throws(() => parseTagExpression(text), (error) => {
      assert.ok(error instanceof TagExpressionError, text);
      assert.equal(error.message, `${problem} at character ${position}`);
      return true;
    });
    assert.equal(TagExpression.safeParse(text).success, false, text);
  }
});

Deno.test("TagExpression takes whole, short text and keeps it as it is", () => {
  assert.equal(TagExpression.parse("a AND  b"), "a AND  b");
  for (const junk of ["a\ud800", "a ".repeat(501), 1, null, ["a"]]) {
    assert.equal(TagExpression.safeParse(junk).success, false);
  }
});
