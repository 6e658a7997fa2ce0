import assert from "node:assert/strict";
import { join } from "node:path";
import { StateFolder, StateFolderError } from "./state_folder.ts";

Deno.test("StateFolder says what to do when the disk is full, and keeps what it had", async () => {
  const path = await Deno.makeTempDir({ prefix: "rookery-state-" });
  try {
    const state = await StateFolder.open(path);
    assert.equal(await state.nextSequence(), 1);
    // Linux has a file for it: whatever is written there finds no room.
    await Deno.symlink("/dev/full", join(path, "sequence.json.new"));
    await assert.rejects(state.nextSequence(), (error) => {
      assert.ok(error instanceof StateFolderError);
      assert.match(
        error.message,
        /^Cannot write sequence.json in .*: the disk is full\. Make room/,
      );
      return true;
    });
    await Deno.remove(join(path, "sequence.json.new"));
    assert.equal(await state.nextSequence(), 2);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
});
