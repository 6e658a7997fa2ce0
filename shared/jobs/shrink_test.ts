import assert from "node:assert/strict";
import { hasShrunk } from "./shrink.ts";

Deno.test("hasShrunk() takes what lost exactly the threshold, at every threshold, and nothing smaller", () => {
  for (let shrinkPercent = 1; shrinkPercent <= 100; shrinkPercent++) {
    for (const baselineBytes of [100, 700, 20_971_500]) {
      const bytes = baselineBytes / 100 * (100 - shrinkPercent);
      assert.equal(hasShrunk({ baselineBytes, bytes, shrinkPercent }), false, `${shrinkPercent} %`);
      const smaller = hasShrunk({ baselineBytes, bytes: bytes - 1, shrinkPercent });
      assert.equal(smaller, true, `${shrinkPercent} %`);
    }
  }
});
