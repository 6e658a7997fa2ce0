import assert from "node:assert/strict";
import { findEcho } from "./prompt.ts";

const command = "show running-config";

function find(lines: readonly string[], text = "R1#"): number | undefined {
  return findEcho(lines, { prompt: { mode: "enable", text }, command });
}

Deno.test("findEcho() finds the command behind the prompt, whole or in pieces", () => {
  assert.equal(find(["R1#show running-config", "version 17"]), 0);
  assert.equal(find(["rr-1# show running-config "], "rr-1#"), 0);
  assert.equal(find(["R1#", "R1#show running-config"]), 1);
  assert.equal(find(["R1#*Jan 1: %LINK-3-UPDOWN: up", "R1#show running-config"]), 1);
  assert.equal(find(["R1#show runn", "*Jan 1: %LINK-3-UPDOWN: up", "ing-config"]), 2);
  assert.equal(find(["R1#show ", "*Jan 1: %LINK-3-UPDOWN: up", "running-config"]), 2);
  assert.equal(find(["R1#", "*Jan 1: %LINK-3-UPDOWN: up", "show running-config"]), 2);
});

Deno.test("findEcho() takes nothing else for the echo", () => {
  assert.equal(find([]), undefined);
  assert.equal(find(["R1#", "description R1#show running-config"]), undefined);
  assert.equal(find(["R1#show running-config all"]), undefined);
  assert.equal(find([...Array<string>(20).fill("log"), "R1#show running-config"]), undefined);
});
