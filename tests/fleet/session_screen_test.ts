import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesOf, Screen } from "../../agent/session/screen.ts";

/** Bytes as devices send them: text, newlines, movements, sequences that may be cut anywhere, and noise. */
const piece = fc.oneof(
  fc.constantFrom(
    "\r\n",
    "\n",
    "\r",
    "\b",
    "\b \b",
    "\t",
    "\0",
    "\x07",
    "\x1b[K",
    "\x1b[2D",
    "\x1b[5C",
    "\x1b[3G",
    "\x1b[2P",
    "\x1b[4@",
    "\x1b[?2004h",
    "\x1b]0;x\x07",
    "\x1b]0;x\x1b\\",
    "\x1bE",
    "\x1b(B",
    "\x1b",
    "\xc3\xa9",
    "\xe2\x82\xac",
    "\xf0\x9f\x90\xa6",
    "\xe2\x82",
    "\xff",
    "R1#",
  ),
  fc.string({ maxLength: 12 }).map((text) => text.replace(/[^\x20-\x7e]/g, "x")),
);
const stream = fc.array(piece, { maxLength: 60 }).map((pieces) =>
  Uint8Array.from(pieces.join(""), (sign) => sign.charCodeAt(0))
);

function show(chunks: Iterable<Uint8Array>): { lines: readonly string[]; tail: string } {
  const screen = new Screen();
  for (const chunk of chunks) screen.feed(chunk);
  return { lines: screen.lines, tail: screen.tail };
}

function* cut(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  let at = 0;
  for (const size of sizes) {
    yield bytes.subarray(at, at + size);
    at += size;
  }
  yield bytes.subarray(at);
}

Deno.test("Screen shows the same whatever the chunks in which bytes arrive", () => {
  fc.assert(
    fc.property(stream, fc.array(fc.nat({ max: 9 }), { maxLength: 200 }), (bytes, sizes) => {
      assert.deepEqual(show(cut(bytes, sizes)), show([bytes]));
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("Screen keeps every byte of lines that are plain text", () => {
  const byte = fc.integer({ min: 0x20, max: 0xff }).filter((value) => value !== 0x7f);
  const lines = fc.array(
    fc.uint8Array({ maxLength: 40 }).chain((seed) =>
      fc.array(byte, { minLength: seed.length, maxLength: seed.length })
    ),
  );
  fc.assert(fc.property(lines, fc.constantFrom([10], [13, 10], [13, 13, 10]), (texts, newline) => {
    const screen = new Screen();
    for (const text of texts) screen.feed(Uint8Array.from([...text, ...newline]));
    assert.deepEqual(
      bytesOf(screen.lines),
      Uint8Array.from(texts.flatMap((text) => [...text, 10])),
    );
  }));
});
