import assert from "node:assert/strict";
import { join } from "node:path";
import { MAX_DRIVER_TOKEN } from "@rookery/shared/drivers/signed_driver.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { DriverCache } from "./driver_cache.ts";

Deno.test("DriverCache keeps a bounded number of files for this user only, and clears away what is none of its own", async () => {
  const state = await Deno.makeTempDir({ prefix: "rookery-drivers-" });
  const folder = join(state, "drivers");
  try {
    const cache = new DriverCache(state);
    assert.deepEqual(await cache.readAll(), []);
    for (let nth = 0; nth < 70; nth++) await cache.keep(await sha256(`${nth}`), `token ${nth}`);
    const last = await sha256("69");
    const kept = await cache.readAll();
    assert.equal(kept.length, 64);
    assert.equal(kept.find((one) => one.sha256 === last)?.token, "token 69");
    const { mode } = await Deno.stat(join(folder, `${last}.jws`));
    assert.equal((mode ?? 0) & 0o777, 0o600);
    // A power cut between writing and renaming, and a file that is too large to be a driver.
    await Deno.writeTextFile(join(folder, `${last}.jws.new`), "torn");
    await Deno.writeTextFile(join(folder, `${last}.jws`), "x".repeat(MAX_DRIVER_TOKEN + 1));
    const left = await cache.readAll();
    assert.deepEqual([left.length, left.some((one) => one.sha256 === last)], [63, false]);
    assert.equal((await Array.fromAsync(Deno.readDir(folder))).length, 63);
  } finally {
    await Deno.remove(state, { recursive: true });
  }
});
