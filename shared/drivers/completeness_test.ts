import assert from "node:assert/strict";
import { judgeCompleteness } from "./completeness.ts";
import { driver, type DriverSource } from "./driver.ts";

type End = DriverSource["captures"][number]["end"];

function judge(
  text: string | Uint8Array,
  end: End = { grade: "marker", line: /^end$/ },
  changes: Partial<DriverSource> = {},
) {
  const found = driver({
    platform: "test",
    label: "Test",
    evidence: { kind: "unverified" },
    transport: "shell",
    modes: { only: { prompt: /^#$/ } },
    captureMode: "only",
    captures: [{
      name: "running",
      commands: ["show"],
      begin: /^start/,
      end,
      minimum: { lines: 3, sections: [/^version/] },
    }],
    restore: "None.",
    ...changes,
  });
  const [capture] = found.captures;
  assert.ok(capture);
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const verdict = judgeCompleteness(bytes, { driver: found, capture });
  return verdict.complete ? `${verdict.grade} ${verdict.lines}` : verdict.code;
}

Deno.test("judgeCompleteness() accepts a whole configuration and refuses each lack by its code", () => {
  assert.equal(judge("start\nversion 1\nend\n"), "marker 3");
  assert.equal(judge("start\r\nversion 1\r\nend\r\n\r\n"), "marker 4");
  assert.equal(judge(""), "configuration_empty");
  assert.equal(judge(" \n\r\n"), "configuration_empty");
  assert.equal(judge("start\nversion 1\n"), "configuration_truncated");
  assert.equal(judge("start\nversion 1\nend\nmore\n"), "configuration_truncated");
  assert.equal(judge("version 1\na\nend\n"), "configuration_too_short");
  assert.equal(judge("start\na\nend\n"), "configuration_too_short");
  assert.equal(judge("start\nversion 1\nend\n".replace("1", "1\0")), "configuration_binary");
  assert.equal(judge("start\nversion 1\n--More--\nend\n"), "pager_stuck");
});

Deno.test("judgeCompleteness() reads bytes that are no UTF-8", () => {
  const text = "start\nversion \u00e9\nend\n";
  assert.equal(judge(Uint8Array.from(text, (sign) => sign.charCodeAt(0))), "marker 3");
});

Deno.test("judgeCompleteness() balances braces outside of quotes and comments", () => {
  const braces: End = { grade: "structure", syntax: "braces" };
  const text = 'start;\nversion "}";\na {\n  b "\\"{"; # }\n  /* { " \n */ c { d; }\n}\n';
  assert.equal(judge(text, braces), "structure 7");
  assert.equal(judge(text.slice(0, -2), braces), "configuration_truncated");
  assert.equal(judge(`${text}}\n`, braces), "configuration_truncated");
  assert.equal(judge(`${text}x;\n`, braces), "configuration_truncated");
  assert.equal(judge(`}\n{\n${text}`, braces), "configuration_truncated");
});

Deno.test("judgeCompleteness() wants one closed root element and nothing behind it", () => {
  const xml: End = { grade: "structure", syntax: "xml" };
  const text =
    "<?xml version='1.0'?>\n<!-- <a> -->\n<r>\nstart\nversion <b/><![CDATA[</r>]]>\n</r>\n";
  assert.equal(judge(text, xml), "structure 6");
  for (
    const wrong of [text.slice(0, -3), text.slice(0, -6), `${text}x`, `${text}<r></r>`, "</r>"]
  ) {
    assert.equal(judge(wrong, xml), "configuration_truncated");
  }
});

Deno.test("judgeCompleteness() checks only sections and size where a platform has no end", () => {
  assert.equal(judge("start\nversion 1\nlast\n", { grade: "prompt" }), "prompt 3");
  assert.equal(judge("start\nversion 1\nlast\n", { grade: "two-read" }), "two-read 3");
});

Deno.test("judgeCompleteness() opens no comment at a wildcard, and refuses one that stays open", () => {
  const braces: End = { grade: "structure", syntax: "braces" };
  const text = "start;\nversion 1;\ngroups {\n  <ge-0/0/*> {\n    <xe-*/*/*> { mtu 1; }\n  }\n}\n";
  assert.equal(judge(text, braces), "structure 7");
  assert.equal(judge(`${text}/* note\n}\n`, braces), "configuration_truncated");
});

Deno.test("judgeCompleteness() lets volatile lines stand behind the last brace", () => {
  const braces: End = { grade: "structure", syntax: "braces" };
  const volatile = [{ line: /^\{master:\d\}$/, why: "the role of a routing engine" }];
  const text = "start;\nversion 1;\na {\n}\n\n{master:0}\n";
  assert.equal(judge(text, braces, { volatile }), "structure 6");
  assert.equal(judge(text, braces), "configuration_truncated");
});

Deno.test("judgeCompleteness() refuses messages of the device wherever they stand", () => {
  const failures = [
    { pattern: /^% Buffer full/, code: "transient_text", anywhere: true },
    { pattern: /^% Invalid/, code: "command_rejected" },
  ] as const;
  const noise = [{ line: /: %SYS-\d-\w+: /, why: "log messages of the device" }];
  const changes = { failures: [...failures], noise };
  assert.equal(
    judge("start\nversion 1\n% Buffer full\nend\n", undefined, changes),
    "transient_text",
  );
  assert.equal(judge("start\nversion 1\n% Invalid\nend\n", undefined, changes), "marker 4");
  const logged = "start\nversion 1\nend\nx: %SYS-5-CONFIG_I: Configured\n";
  assert.equal(judge(logged, undefined, changes), "configuration_interleaved");
});

Deno.test("judgeCompleteness() knows a pager's text from words in a banner, and from a file over exec", () => {
  const text = "start\nversion 1\nPress any key to continue...\n";
  assert.equal(judge(`${text}end\n`), "marker 4");
  assert.equal(judge(`${text}--More--\nend\n`), "pager_stuck");
  const exec = { transport: "exec" } as const;
  assert.equal(judge(`${text}--More--\nend\n`, undefined, exec), "marker 5");
});
