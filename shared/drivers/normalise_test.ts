import assert from "node:assert/strict";
import { driver } from "./driver.ts";
import { DRIVERS } from "./mod.ts";
import { normalise, normalisedSha256 } from "./normalise.ts";

const blocks = driver({
  platform: "test",
  label: "Test",
  evidence: { kind: "unverified" },
  transport: "exec",
  captures: [{
    name: "running",
    commands: ["show"],
    end: { grade: "prompt" },
    minimum: { lines: 1 },
  }],
  volatile: [{ from: /^begin$/, to: /^end$/, why: "changes at every reading" }],
  restore: "None.",
});

Deno.test("normalise() drops volatile lines and ignores newlines and blanks at ends", () => {
  const iosxe = DRIVERS.get("cisco_iosxe");
  assert.ok(iosxe);
  const text =
    "Building configuration...\r\n\r\nCurrent configuration : 1234 bytes\r\n!\r\n! Last configuration change at 09:37 by a\r\nversion 17.9  \r\nntp clock-period 17\r\nend\r\n\r\n";
  assert.equal(normalise(iosxe, text), "\n!\nversion 17.9\nend\n");
});

Deno.test("normalise() drops volatile blocks, and only the first line of one that never ends", () => {
  assert.equal(
    normalise(blocks, "a\nbegin\n1\nend\nb\nbegin\n2\nc\nbegin\nd\n"),
    "a\nb\n2\nc\nd\n",
  );
});

Deno.test("normalisedSha256() differs when a line that is not volatile differs", async () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const first = await normalisedSha256(blocks, bytes("a\nbegin\n1\nend\n"));
  assert.equal(first, await normalisedSha256(blocks, bytes("a\r\nbegin\r\n2\r\nend\r\n")));
  assert.notEqual(first, await normalisedSha256(blocks, bytes("b\nbegin\n1\nend\n")));
});
