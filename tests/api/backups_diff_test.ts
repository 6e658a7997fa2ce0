import assert from "node:assert/strict";
import fc from "fast-check";
import { diffTexts } from "../../control-plane/backups/diff.ts";
import { formatUnified } from "../../control-plane/backups/unified_diff.ts";

const NAMES = { before: "a", after: "b" };

Deno.test("diffTexts() gives hunks with kinds and line numbers on both sides", () => {
  const diff = diffTexts("one\ntwo\nthree\nfour\n", "one\n2\nthree\nfour\nfive\n", { context: 1 });
  assert.equal(diff.method, "exact");
  assert.deepEqual([diff.added, diff.removed], [2, 1]);
  assert.deepEqual(diff.hunks[0]?.lines[1], {
    kind: "removed",
    text: "two",
    oldNumber: 2,
    newNumber: null,
  });
  const last = diff.hunks.at(-1)?.lines.at(-1);
  assert.deepEqual(last, { kind: "added", text: "five", oldNumber: null, newNumber: 5 });
});

Deno.test("diffTexts() finds nothing between texts that differ only in what ends their lines", () => {
  const diff = diffTexts("one\r\ntwo", "one\ntwo\n", { context: 3 });
  assert.deepEqual(diff.hunks, []);
  assert.equal(formatUnified(diff, NAMES), "");
});

Deno.test("formatUnified() writes what patch(1) understands, also for an empty side", () => {
  const changed = diffTexts("one\ntwo\n", "one\n2\n", { context: 3 });
  assert.equal(formatUnified(changed, NAMES), "--- a\n+++ b\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n");
  const added = diffTexts("", "one\n", { context: 3 });
  assert.equal(formatUnified(added, NAMES), "--- a\n+++ b\n@@ -0,0 +1 @@\n+one\n");
});

Deno.test("diffTexts() is coarse instead of slow, and says so", () => {
  const text = (salt: string) =>
    Array.from({ length: 30_000 }, (_, n) => `${salt} ${n * 7_919 % 30_000}\n`).join("");
  const diff = diffTexts(`same\n${text("a")}end\n`, `same\n${text("b")}end\n`, {
    context: 1,
    timeoutMs: 5,
    maxLines: 100,
  });
  assert.equal(diff.method, "coarse");
  assert.deepEqual([diff.added, diff.removed], [30_000, 30_000]);
  assert.equal(diff.truncated, true);
  assert.equal(diff.hunks[0]?.lines.length, 100);
  assert.equal(diff.hunks[0]?.lines[0]?.text, "same");
});

Deno.test("diffTexts() cuts by characters, too: one endless line is left out and counted", () => {
  const endless = "x".repeat(5_000_000);
  const diff = diffTexts(`a\n${endless}\nb\n`, "a\nshort\nb\n", { context: 1 });
  assert.deepEqual([diff.added, diff.removed, diff.truncated], [1, 1, true]);
  assert.deepEqual(diff.hunks[0]?.lines.map(({ text }) => text), ["a"]);
  assert.match(formatUnified(diff, NAMES), /^--- a\n[^]*left out\n$/);
});

Deno.test("diffTexts() calls lines that were only added the exact difference, however many", () => {
  const diff = diffTexts("a\nb\n", `a\n${"\n".repeat(3_000_000)}b\n`, { context: 1 });
  assert.deepEqual([diff.method, diff.added, diff.removed], ["exact", 3_000_000, 0]);
  assert.equal(diff.hunks[0]?.lines.length, 20_000);
});

Deno.test("diffTexts() turns the old text into the new one, exactly and coarsely", () => {
  const lines = fc.array(fc.constantFrom("a", "b", "c", "", " d"), { maxLength: 30 });
  fc.assert(fc.property(lines, lines, fc.boolean(), fc.nat(4), (old, now, coarse, context) => {
    const diff = diffTexts(joined(old), joined(now), { context, timeoutMs: coarse ? -1 : 1_000 });
    assert.deepEqual(applied(old, diff), now);
  }));
});

function joined(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}

/** Replays a diff on the old lines. */
function applied(old: readonly string[], diff: ReturnType<typeof diffTexts>): string[] {
  const result: string[] = [];
  let at = 1;
  for (const { oldStart, oldLines, lines } of diff.hunks) {
    // An empty old side names the line before or after it, which its neighbours decide.
    const first = lines.find(({ oldNumber }) => oldNumber !== null)?.oldNumber ?? oldStart;
    while (at < first) result.push(old[at++ - 1] ?? "");
    for (const { kind, text } of lines) if (kind !== "removed") result.push(text);
    at += oldLines;
  }
  return [...result, ...old.slice(at - 1)];
}
