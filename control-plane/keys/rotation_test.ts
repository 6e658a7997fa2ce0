import assert from "node:assert/strict";
import { compactVerify, decodeProtectedHeader, importJWK } from "jose";
import { KEY_STATEMENT_TYPE, KeyStatement } from "@rookery/shared/key_statement.ts";
import { KeyFile } from "./key_file_schema.ts";
import { openKeyRing } from "./key_ring.ts";
import { makeKeys } from "./make_keys.ts";
import * as rotation from "./rotation.ts";

const START = Temporal.Instant.from("2026-01-01T00:00:00Z");
const ISSUER = "urn:uuid:00000000-0000-4000-8000-000000000001";

function onDay(days: number): Temporal.Instant {
  return START.add({ hours: 24 * days });
}

function refused(by: RegExp) {
  return (error: unknown) =>
    error instanceof rotation.RotationRefusedError && by.test(error.message);
}

/** A file in which the first signing key has been replaced on day 7. */
async function replacedSigning() {
  const made = await makeKeys(START);
  const first = made.signing[0]?.kid ?? "";
  const added = await rotation.addSigningKey(made, { now: START, issuer: ISSUER });
  const used = rotation.activateSigningKey(added.file, { now: onDay(7) });
  return { first, second: added.key, file: used.file };
}

Deno.test("activateSigningKey() waits seven days, unless it is told what that breaks", async () => {
  const made = await makeKeys(START);
  assert.throws(() => rotation.activateSigningKey(made, { now: START }), refused(/Make one first/));
  const { file, key } = await rotation.addSigningKey(made, { now: START, issuer: ISSUER });
  assert.equal((await openKeyRing(file)).signing.kid, made.signing[0]?.kid);
  const early = { now: onDay(7).subtract({ seconds: 1 }) };
  assert.throws(
    () => rotation.activateSigningKey(file, early),
    refused(/until 2026-01-08T00:00:00.000Z .*--break-unaware-agents/),
  );
  for (const options of [{ now: onDay(7) }, { ...early, force: true }]) {
    const used = rotation.activateSigningKey(file, options).file;
    assert.equal((await openKeyRing(used)).signing.kid, key);
    assert.equal(used.generation, 3);
  }
});

Deno.test("addSigningKey() lets one key wait at a time", async () => {
  const options = { now: START, issuer: ISSUER };
  const { file, key } = await rotation.addSigningKey(await makeKeys(START), options);
  await assert.rejects(
    rotation.addSigningKey(file, options),
    refused(new RegExp(`${key} is waiting`)),
  );
});

Deno.test("retireSigningKey() erases the private half seven days after, and no key that is in use", async () => {
  const { first, second, file } = await replacedSigning();
  const early = { now: onDay(13), kid: first };
  assert.throws(() => rotation.retireSigningKey(file, early), refused(/--break-unaware-agents/));
  const inUse = { now: onDay(99), kid: second, force: true };
  assert.throws(() => rotation.retireSigningKey(file, inUse), refused(/has not been replaced/));
  const unknown = { now: onDay(99), kid: "x" };
  assert.throws(() => rotation.retireSigningKey(file, unknown), refused(/no such key/));
  const { file: after } = rotation.retireSigningKey(file, { now: onDay(14), kid: first });
  assert.ok(!JSON.stringify(after).includes(file.signing[0]?.jwk.d ?? assert.fail()));
  assert.deepEqual(KeyFile.parse(JSON.parse(JSON.stringify(after))), after);
  const again = { now: onDay(30), kid: first };
  assert.throws(() => rotation.retireSigningKey(after, again), refused(/retired already/));
  const ring = await openKeyRing(after);
  assert.deepEqual(ring.signingPublicJwks.map((jwk) => jwk.kid), [second]);
  assert.equal(ring.signingPublicKey(first), undefined);
});

Deno.test("KeyRing.statements() keeps the chain for ever, and all replicas say the same", async () => {
  const { first, second, file } = await replacedSigning();
  const chain = file.signing[1]?.statement;
  const { file: after } = rotation.retireSigningKey(file, { now: onDay(14), kid: first });
  const said = await (await openKeyRing(after)).statements(ISSUER);
  assert.deepEqual(await (await openKeyRing(after)).statements(ISSUER), said);
  assert.equal(said[0], chain);
  const read = await Promise.all(said.map(async (token, at) => {
    const { alg, typ, kid } = decodeProtectedHeader(token);
    assert.deepEqual([alg, typ, kid], ["Ed25519", KEY_STATEMENT_TYPE, at === 0 ? first : second]);
    const { d: _, ...jwk } = file.signing[at === 0 ? 0 : 1]?.jwk ?? assert.fail();
    const { payload } = await compactVerify(token, await importJWK(jwk, "Ed25519"));
    const { iss, use, status, sequence } = KeyStatement.parse(
      JSON.parse(new TextDecoder().decode(payload)),
    );
    assert.equal(iss, ISSUER);
    return [use, status, sequence];
  }));
  assert.deepEqual(read, [["sig", "trusted", 2], ["sig", "retired", 1], ["enc", "trusted", 1]]);
});

Deno.test("retireSealingKey() opens what is sealed for thirty days more", async () => {
  const made = await makeKeys(START);
  const first = made.sealing[0]?.kid ?? "";
  const { file, key } = await rotation.addSealingKey(made, { now: START });
  const ring = await openKeyRing(file);
  assert.equal(ring.sealing.kid, key);
  assert.ok(ring.sealingKey(first));
  const early = { now: onDay(29), kid: first };
  assert.throws(
    () => rotation.retireSealingKey(file, early),
    refused(/--lose-undelivered-results/),
  );
  const { file: after } = rotation.retireSealingKey(file, { now: onDay(30), kid: first });
  assert.equal((await openKeyRing(after)).sealingKey(first), undefined);
});

Deno.test("addKek() and activateKek() go on where they were interrupted", async () => {
  const made = await makeKeys(START);
  const old = made.kek[0]?.id ?? "";
  const { file, key } = rotation.addKek(made, { now: START });
  assert.deepEqual(rotation.addKek(file, { now: onDay(1) }), { file, key });
  assert.equal((await openKeyRing(file)).currentKekId, old);
  const { file: used } = rotation.activateKek(file, { now: START });
  assert.equal((await openKeyRing(used)).currentKekId, key);
  assert.throws(
    () => rotation.retireKek(used, { now: START, id: old }),
    refused(/may still be wrapping/),
  );
  assert.throws(
    () => rotation.retireKek(used, { now: onDay(1), id: key }),
    refused(/not been replaced/),
  );
  const { file: after } = rotation.retireKek(used, { now: onDay(1), id: old });
  assert.deepEqual(after.kek.map((kek) => kek.id), [key]);
});

Deno.test("a key file of version 1 is read, and becomes one of version 2 with the first step", async () => {
  const made = await makeKeys(START);
  const plain = <Key extends { activatedAt?: string | undefined }>(
    { activatedAt: _, ...key }: Key,
  ) => key;
  const { generation: _, ...rest } = made;
  const old = {
    ...rest,
    version: 1,
    signing: made.signing.map(plain),
    sealing: made.sealing.map(plain),
    kek: made.kek.map(plain),
  };
  const file = KeyFile.parse(old);
  const ring = await openKeyRing(file);
  assert.equal(ring.generation, 1);
  assert.deepEqual(ring.fingerprints, (await openKeyRing(made)).fingerprints);
  const step = await rotation.addSigningKey(file, { now: START, issuer: ISSUER });
  assert.deepEqual([step.file.version, step.file.generation], [2, 2]);
});
