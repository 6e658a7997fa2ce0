import assert from "node:assert/strict";
import { type Driver, driver } from "./driver.ts";
import { DRIVERS } from "./mod.ts";
import { normalise, normalisedSha256, type NormaliseRules } from "./normalise.ts";

const blocksDriver = driver({
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

/** The rules of a driver's first capture. */
function rulesOf(driver: Driver | undefined): NormaliseRules {
  const [capture] = driver?.captures ?? [];
  assert.ok(driver && capture);
  return { driver, capture };
}

const blocks = rulesOf(blocksDriver);

Deno.test("normalise() drops volatile lines and ignores newlines and blanks at ends", () => {
  const iosxe = rulesOf(DRIVERS.get("cisco_iosxe"));
  const text =
    "Building configuration...\r\n\r\nCurrent configuration : 1234 bytes\r\n!\r\n! Last configuration change at 09:37 by a\r\nversion 17.9  \r\nntp clock-period 17\r\nend\r\n\r\n";
  assert.equal(normalise(text, iosxe), "!\nversion 17.9\nend\n");
});

Deno.test("normalise() begins with the first line that begins the capture, and with the text if none does", () => {
  const linux = rulesOf(DRIVERS.get("linux"));
  const files = "### /etc/hostname\nr1\n\n### /etc/hosts\n::1 localhost\n\n### end\n";
  const greeted = (time: string) => `Welcome, it is ${time}\n### hello\n${files}`;
  assert.equal(normalise(greeted("10:00"), linux), files);
  assert.equal(normalise(greeted("10:01"), linux), files);
  assert.equal(normalise("no header\nat all\n", linux), "no header\nat all\n");
});

Deno.test("normalise() drops volatile blocks, and only the first line of one that never ends", () => {
  assert.equal(
    normalise("a\nbegin\n1\nend\nb\nbegin\n2\nc\nbegin\nd\n", blocks),
    "a\nb\n2\nc\nd\n",
  );
});

Deno.test("normalisedSha256() differs when a line that is not volatile differs", async () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const first = await normalisedSha256(bytes("a\nbegin\n1\nend\n"), blocks);
  assert.equal(first, await normalisedSha256(bytes("a\r\nbegin\r\n2\r\nend\r\n"), blocks));
  assert.notEqual(first, await normalisedSha256(bytes("b\nbegin\n1\nend\n"), blocks));
});
