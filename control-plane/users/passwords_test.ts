import assert from "node:assert/strict";
import { startPasswords } from "./passwords.ts";

Deno.test("startPasswords() hashes with argon2id, salted, and tells right from wrong", async () => {
  using passwords = startPasswords();
  const [one, two] = await Promise.all([
    passwords.hash("correct horse battery"),
    passwords.hash("correct horse battery"),
  ]);
  assert.match(one, /^\$argon2id\$v=19\$m=47104,t=1,p=1\$/);
  assert.notEqual(one, two);
  assert.equal(await passwords.matches("correct horse battery", one), true);
  assert.equal(await passwords.matches("correct horse batterz", one), false);
});

Deno.test("startPasswords() never lets anybody in who has no password", async () => {
  using passwords = startPasswords();
  assert.equal(await passwords.matches("null", null), false);
  assert.equal(await passwords.matches("anything", undefined), false);
});

Deno.test("startPasswords() takes two ways of writing the same letter as the same", async () => {
  using passwords = startPasswords();
  const hash = await passwords.hash("cafe\u0301 au lait 12");
  assert.equal(await passwords.matches("caf\u00e9 au lait 12", hash), true);
});

Deno.test("startPasswords() refuses what waits when it is stopped, and what comes after", async () => {
  const passwords = startPasswords();
  const waiting = passwords.hash("correct horse battery");
  passwords[Symbol.dispose]();
  await assert.rejects(waiting, /stopping/);
  await assert.rejects(passwords.hash("correct horse battery"), /stopped/);
});

Deno.test("startPasswords() refuses more than it can do, and goes on with the others", async () => {
  using passwords = startPasswords();
  const asked = Array.from({ length: 66 }, () => passwords.matches("x", undefined));
  const refused = await Promise.allSettled(asked.slice(64));
  assert.deepEqual(
    refused.map((result) => result.status === "rejected" && result.reason.type),
    ["overloaded", "overloaded"],
  );
  assert.equal(await asked[0], false);
  passwords[Symbol.dispose]();
  const rest = await Promise.allSettled(asked.slice(1, 64));
  assert.ok(rest.some(({ status }) => status === "rejected"));
});
