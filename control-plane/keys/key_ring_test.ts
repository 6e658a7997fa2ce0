import assert from "node:assert/strict";
import { CompactSign, compactVerify, importJWK } from "jose";
import { KeyFileError, makeKeys } from "./key_file.ts";
import { openKeyRing } from "./key_ring.ts";

Deno.test("openKeyRing() signs with the active key and publishes every one, the active first", async () => {
  const old = await makeKeys();
  const now = await makeKeys();
  const ring = await openKeyRing({
    ...now,
    signing: [...old.signing.map((key) => ({ ...key, active: false })), ...now.signing],
    sealing: [...old.sealing.map((key) => ({ ...key, active: false })), ...now.sealing],
  });
  assert.equal(ring.signing.kid, now.signing[0]?.kid);
  assert.deepEqual(ring.signingPublicJwks.map((jwk) => jwk.kid), [
    now.signing[0]?.kid,
    old.signing[0]?.kid,
  ]);
  const oldSealing = old.sealing[0]?.kid ?? "";
  assert.equal(ring.sealingKey(oldSealing)?.kid, oldSealing);
  assert.equal(ring.sealingKey("another"), undefined);
  const jws = await new CompactSign(new TextEncoder().encode("lease"))
    .setProtectedHeader({ alg: "Ed25519" }).sign(ring.signing.privateKey);
  const [publicJwk] = ring.signingPublicJwks;
  assert.ok(publicJwk);
  assert.ok(!("d" in publicJwk));
  await compactVerify(jws, await importJWK({ ...publicJwk }, "Ed25519"), {
    algorithms: ["Ed25519"],
  });
});

Deno.test("openKeyRing() derives the same key again, and another one for another purpose or context", async () => {
  const file = await makeKeys();
  const ring = await openKeyRing(file);
  const again = await openKeyRing(file);
  const other = await openKeyRing(await makeKeys());
  const key = (await ring.deriveKey("secret-tag", "device-1")).toHex();
  assert.equal((await again.deriveKey("secret-tag", "device-1")).toHex(), key);
  assert.notEqual((await ring.deriveKey("secret-tag", "device-2")).toHex(), key);
  assert.notEqual((await ring.deriveKey("secret-tagd", "evice-1")).toHex(), key);
  assert.notEqual((await other.deriveKey("secret-tag", "device-1")).toHex(), key);
});

Deno.test("openKeyRing() shows no key when it is printed", async () => {
  const file = await makeKeys();
  const ring = await openKeyRing(file);
  const shown = Deno.inspect(ring, { depth: 10, showHidden: true }) + JSON.stringify(ring);
  const secrets = [
    file.derivation.key,
    ...file.kek.map((key) => key.key),
    ...[...file.signing, ...file.sealing].flatMap((key) => key.jwk.d ?? []),
  ];
  for (const secret of secrets) assert.ok(!shown.includes(secret));
  await assert.rejects(crypto.subtle.exportKey("jwk", ring.signing.privateKey));
});

Deno.test("openKeyRing() refuses a key under the id of another, and an unknown key-encryption key", async () => {
  const file = await makeKeys();
  const other = await makeKeys();
  const swapped = file.signing.map((key) => ({ ...key, kid: other.signing[0]?.kid ?? "" }));
  await assert.rejects(openKeyRing({ ...file, signing: swapped }), KeyFileError);
  const ring = await openKeyRing(file);
  assert.throws(() => ring.kek("kek-gone"), KeyFileError);
});
