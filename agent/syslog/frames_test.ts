import assert from "node:assert/strict";
import { FrameReader } from "./frames.ts";

/** The messages of a stream that arrives in pieces of so many octets. */
function cut(stream: string, octets = stream.length): string[] {
  const frames = new FrameReader();
  const bytes = new TextEncoder().encode(stream);
  const decoder = new TextDecoder();
  const messages: string[] = [];
  for (let from = 0; from < bytes.length; from += octets) {
    for (const message of frames.read(bytes.subarray(from, from + octets))) {
      messages.push(decoder.decode(message));
    }
  }
  for (const message of frames.end()) messages.push(decoder.decode(message));
  return messages;
}

Deno.test("FrameReader cuts counted messages and lines, also in one stream and octet by octet", () => {
  const streams: readonly (readonly [string, readonly string[]])[] = [
    // RFC 6587, 3.4.1 and 3.4.2.
    ["11 <34>1 hello8 <34>ä b", ["<34>1 hello", "<34>ä b"]],
    ["<34>one\n<34>two\r\n\n<34>three", ["<34>one", "<34>two\r", "<34>three"]],
    ["5 <1>ab\n<1>line\n5 <1>cd", ["<1>ab", "<1>line", "<1>cd"]],
    ["7 <1>a\nb\n7 <1>c\nd\n", ["<1>a\nb\n", "<1>c\nd\n"]],
    ["12\nplain\n", ["12", "plain"]],
    ["123456789 x\n", ["123456789 x"]],
    ["012 x\n", ["012 x"]],
    [" \n", [" "]],
    ["99 <1>cut off", []],
    ["\0\0<1>nul\0\n", ["<1>nul\0"]],
    ["", []],
  ];
  for (const [stream, messages] of streams) {
    for (const octets of [1, 2, 3, 7, stream.length || 1]) {
      assert.deepEqual(cut(stream, octets), messages, `${JSON.stringify(stream)} by ${octets}`);
    }
  }
});

Deno.test("FrameReader keeps 8 KiB of a message and goes on with the next, however long it is", () => {
  const long = "x".repeat(100_000);
  assert.deepEqual(cut(`<1>${long}\n<1>next\n`, 999).map(({ length }) => length), [8_192, 7]);
  assert.deepEqual(cut(`100000 ${long}7 <1>next`, 999).map(({ length }) => length), [8_192, 7]);
});
