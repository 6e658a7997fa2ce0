import assert from "node:assert/strict";
import { bytesOf, Screen } from "./screen.ts";

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (sign) => sign.charCodeAt(0));
}

function show(...texts: string[]): { lines: readonly string[]; tail: string } {
  const screen = new Screen();
  for (const text of texts) screen.feed(latin1(text));
  return { lines: screen.lines, tail: screen.tail };
}

Deno.test("Screen ends lines however devices end them", () => {
  for (const newline of ["\n", "\r\n", "\r\r\n", "\r\r\r\n", "\n\r", "\r\0\n", "\x1bE"]) {
    assert.deepEqual(show(`a${newline}${newline}b${newline}c#`), {
      lines: ["a", "", "b"],
      tail: "c#",
    });
  }
});

Deno.test("Screen overwrites as a terminal does and keeps blanks that were sent", () => {
  assert.deepEqual(show("abc\rX\r\n"), { lines: ["Xbc"], tail: "" });
  assert.deepEqual(show("abcd\b\bX\r\n").lines, ["abXd"]);
  assert.deepEqual(show("abcd\b \b\b \bx\n").lines, ["abx"]);
  assert.deepEqual(show("ab  \r\n", " \tc \r\n").lines, ["ab  ", " \tc "]);
  assert.deepEqual(show("abcd\x1b[2D\x1b[K\r\n", "ab\x1b[3Cc\r\n").lines, ["ab", "ab   c"]);
  assert.deepEqual(show("abcd\x1b[1G\x1b[2P\n", "ab\x1b[2K\rx\n").lines, ["cd", "x"]);
  assert.deepEqual(show("ab \x1b[1D\n").lines, ["ab "]);
});

Deno.test("Screen drops what shows nothing and keeps what may be text", () => {
  const noise = "\x1b[?2004h\x1b[01;32m\x1b]0;title\x07\x1b]0;other\x1b\\\x1b(B\x1b=\x1b[6n\x07";
  assert.deepEqual(show(`${noise}R1#${noise}`), { lines: [], tail: "R1#" });
  assert.deepEqual(show("banner \x03 a\0b\r\n\0c\n").lines, ["banner \x03 a\0b", "c"]);
});

Deno.test("Screen erases a character of several bytes at once and keeps broken ones", () => {
  assert.deepEqual(show("x\xc3\xa9\b \by\n").lines, ["xy"]);
  assert.deepEqual(show("\xe9t\xe9 \xc3\n\xf0\x9f\n\xff\xe2\x82\xac\n").lines, [
    "\xe9t\xe9 \xc3",
    "\xf0\x9f",
    "\xff\xe2\x82\xac",
  ]);
  const raw = latin1("\xe9\xc3\xa9\xff");
  const screen = new Screen();
  screen.feed(raw);
  screen.feed(latin1("\n"));
  assert.deepEqual(bytesOf(screen.lines), new Uint8Array([...raw, 10]));
});

Deno.test("Screen removes an answered pager, however the device erases it", () => {
  const ways = {
    "backspaces": `${"\b".repeat(9)}        ${"\b".repeat(9)}`,
    "return and blanks": "\r          \r",
    "return only": "\r",
    "erase sequence": "\r\x1b[K",
    "nothing": "",
    "a new line": "\r\n",
  };
  for (const [way, erasure] of Object.entries(ways)) {
    for (const next of ["!", "interface GigabitEthernet1", " ip address 10.0.0.1"]) {
      const screen = new Screen();
      screen.feed(latin1("one\r\n --More-- "));
      screen.erasePager();
      screen.feed(latin1(`${erasure}${next}\r\nlast\r\n`));
      assert.deepEqual(screen.lines, ["one", next, "last"], way);
    }
  }
});

Deno.test("Screen keeps an empty line that follows an erased pager", () => {
  const screen = new Screen();
  screen.feed(latin1("one\r\n--More--"));
  screen.erasePager();
  screen.feed(latin1("\r        \r\r\ntwo\r\n"));
  assert.deepEqual(screen.lines, ["one", "", "two"]);
});

Deno.test("Screen survives sequences that never end or ask for far columns", () => {
  assert.equal(show(`\x1b]${"x".repeat(5_000)}\nb\n`).lines.at(-1), "b");
  assert.deepEqual(show("\x1b[999999999999Ca\n").lines, [`${" ".repeat(1_000)}a`]);
  assert.equal(show("\x1b[999C".repeat(1_000), "a\n").lines[0]?.length, 2_001);
  assert.equal(show("\x1b[1000@".repeat(1_000), "\n").lines[0]?.length, 3_000);
});

Deno.test("Screen lets no stray escape swallow lines", () => {
  for (const opener of ["\x1b]", "\x1bP", "\x1bX", "\x1b^", "\x1b_"]) {
    assert.deepEqual(show(`a${opener}title\r\nb\r\nc\n`).lines, ["a", "b", "c"]);
    assert.deepEqual(show(`a${opener}title\x18b\n`).lines, ["ab"]);
  }
});

Deno.test("Screen keeps what stood on a display that is cleared", () => {
  assert.deepEqual(show("banner exec ^C\x1b[2J\x1b[HWelcome\r\n").lines, [
    "banner exec ^C",
    "Welcome",
  ]);
  assert.deepEqual(show("\x1b[2J\x1b[HWelcome\r\n").lines, ["Welcome"]);
});
