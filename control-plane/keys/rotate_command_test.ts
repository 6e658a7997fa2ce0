import assert from "node:assert/strict";
import { readRotateCommand, RotateUsageError } from "./rotate_command.ts";

const GOOD: readonly (readonly [string, Record<string, unknown>])[] = [
  ["", { do: "help" }],
  ["--help", { do: "help" }],
  ["status", { do: "status" }],
  ["repair", { do: "repair" }],
  ["signing", { do: "add", what: "signing", force: false }],
  ["signing --activate", { do: "activate", what: "signing", force: false }],
  ["signing --activate --break-unaware-agents", { do: "activate", what: "signing", force: true }],
  ["signing --retire -AAAAAAAAAAAAAAAAAAAAA-bbbbbbbbbbbbbbbbbbbb", {
    do: "retire",
    what: "signing",
    key: "-AAAAAAAAAAAAAAAAAAAAA-bbbbbbbbbbbbbbbbbbbb",
    force: false,
  }],
  ["signing --retire KEY", { do: "retire", what: "signing", key: "KEY", force: false }],
  ["sealing", { do: "add", what: "sealing", force: false }],
  [
    "sealing --retire KEY --lose-undelivered-results",
    { do: "retire", what: "sealing", key: "KEY", force: true },
  ],
  ["kek", { do: "add", what: "kek", force: false }],
  ["kek --rewrap", { do: "rewrap", what: "kek", force: false }],
  ["kek --retire=kek-1", { do: "retire", what: "kek", key: "kek-1", force: false }],
];

for (const [line, command] of GOOD) {
  Deno.test(`readRotateCommand() understands "${line}"`, () => {
    assert.deepEqual(readRotateCommand(line.split(" ").filter(Boolean)), command);
  });
}

const BAD = [
  "derivation",
  "signing now",
  "signing --rewrap",
  "signing --activate --retire KEY",
  "signing --break-unaware-agents",
  "signing --retire KEY --lose-undelivered-results",
  "signing --retire",
  "sealing --activate",
  "sealing --break-unaware-agents",
  "kek --force",
  "kek --retire kek-1 --break-unaware-agents",
  "status --activate",
];

for (const line of BAD) {
  Deno.test(`readRotateCommand() refuses "${line}"`, () => {
    assert.throws(() => readRotateCommand(line.split(" ")), RotateUsageError);
  });
}
