import assert from "node:assert/strict";
import { KeyFileError, makeKeys, readExistingKeyFile, readOrCreateKeyFile } from "./key_file.ts";

Deno.test("readOrCreateKeyFile() makes a file that only its owner can read, and reads it again", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/deep/keys.json`;
    const made = await readOrCreateKeyFile(path);
    assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    assert.deepEqual(await readOrCreateKeyFile(path), made);
    assert.deepEqual(await namesIn(`${folder}/deep`), ["keys.json"]);
  });
});

Deno.test("readOrCreateKeyFile() makes one file when several replicas start at once", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/keys.json`;
    const files = await Promise.all(Array.from({ length: 8 }, () => readOrCreateKeyFile(path)));
    const kids = new Set(files.map((file) => file.signing[0]?.kid));
    assert.equal(kids.size, 1);
    assert.deepEqual(await namesIn(folder), ["keys.json"]);
  });
});

Deno.test("readExistingKeyFile() makes none, and says what to do", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/keys.json`;
    const refusal = isKeyFileError(`Cannot find the key file ${path}`);
    await assert.rejects(readExistingKeyFile(path), refusal);
    assert.deepEqual(await namesIn(folder), []);
  });
});

Deno.test("readOrCreateKeyFile() refuses a file that others can read, and leaves it alone", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/keys.json`;
    await readOrCreateKeyFile(path);
    const before = await Deno.readTextFile(path);
    for (const mode of [0o640, 0o604, 0o620]) {
      await Deno.chmod(path, mode);
      await assert.rejects(readOrCreateKeyFile(path), isKeyFileError("chmod 600"));
    }
    assert.equal(await Deno.readTextFile(path), before);
  });
});

Deno.test("readOrCreateKeyFile() names the damaged field and tells no key", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/keys.json`;
    const keys = await makeKeys();
    const secret = keys.derivation.key;
    const damaged = { ...keys, signing: keys.signing.map((key) => ({ ...key, active: false })) };
    await Deno.writeTextFile(path, JSON.stringify(damaged), { mode: 0o600 });
    await assert.rejects(readOrCreateKeyFile(path), (error: unknown) => {
      assert.ok(error instanceof KeyFileError);
      assert.match(error.message, /damaged at signing/);
      assert.ok(!Deno.inspect(error).includes(secret));
      return true;
    });
    await Deno.writeTextFile(path, JSON.stringify(keys).slice(0, -20));
    await assert.rejects(readOrCreateKeyFile(path), isKeyFileError("damaged at (whole)"));
    await Deno.writeTextFile(path, "");
    await assert.rejects(readOrCreateKeyFile(path), isKeyFileError("damaged at (whole)"));
  });
});

function isKeyFileError(part: string): (error: unknown) => boolean {
  return (error) => error instanceof KeyFileError && error.message.includes(part);
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return (await Array.fromAsync(Deno.readDir(folder))).map((entry) => entry.name);
}

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
