import assert from "node:assert/strict";
import { SeenEpochs } from "./seen_epochs.ts";

Deno.test("SeenEpochs accepts each epoch of a job once, and only rising ones", () => {
  const epochs = new SeenEpochs();
  assert.deepEqual([2, 2, 1, 3].map((epoch) => epochs.accept("a", epoch)), [
    true,
    false,
    false,
    true,
  ]);
  assert.equal(epochs.accept("b", 1), true);
});
