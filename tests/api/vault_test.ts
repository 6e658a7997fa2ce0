import assert from "node:assert/strict";
import { compactDecrypt, exportJWK, generateKeyPair } from "jose";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { CredentialId, DeviceId, LeaseId, type TenantId } from "@rookery/shared/ids.ts";
import { CREDENTIAL_TYPE, SealedCredential } from "@rookery/shared/jobs/lease.ts";
import {
  type CredentialSecrets,
  openSecrets,
  sealForAgent,
  sealSecrets,
} from "../../control-plane/credentials/vault.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import {
  type Envelope,
  openEnvelope,
  sealEnvelope,
  SealError,
} from "../../control-plane/keys/envelope.ts";
import { KeyFileError, makeKeys } from "../../control-plane/keys/key_file.ts";
import { openKeyRing } from "../../control-plane/keys/key_ring.ts";
import { assertSameKeys } from "../../control-plane/keys/same_keys.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();

const SECRETS = {
  password: "vault-test-password-7",
  privateKey: "-----BEGIN TEST KEY----- vault-test-key-7",
  passphrase: "vault-test-passphrase-7",
  enableSecret: "vault-test-enable-7",
} as const satisfies CredentialSecrets;

async function makeRing() {
  const file = await makeKeys();
  return { file, ring: await openKeyRing(file) };
}

Deno.test("openSecrets() gives back what sealSecrets() took, from the database as well", async () => {
  const { ring } = await makeRing();
  const version = { credentialId: newId<CredentialId>(), version: 1 };
  const envelope = await sealSecrets(ring, { ...version, secrets: SECRETS });
  await storeVersion(version, envelope);
  const { kekId, wrappedKey, nonce, ciphertext } = await database.db
    .selectFrom("credentialVersions").selectAll()
    .where("credentialId", "=", version.credentialId).executeTakeFirstOrThrow();
  const stored = { kekId, wrappedKey, nonce, ciphertext };
  assert.deepEqual(await openSecrets(ring, { ...version, envelope: stored }), SECRETS);
});

Deno.test("sealSecrets() leaves none of the secrets, and none of the keys, in any table", async () => {
  const { file, ring } = await makeRing();
  const version = { credentialId: newId<CredentialId>(), version: 1 };
  await storeVersion(version, await sealSecrets(ring, { ...version, secrets: SECRETS }));
  await database.db.updateTable("installation").set({ keyFingerprints: null }).execute();
  await assertSameKeys(database.db, ring);
  const dump = await dumpTables();
  assert.ok(dump.includes(version.credentialId), "the dump shows the row");
  const keys = [
    file.derivation.key,
    ...file.kek.map(({ key }) => key),
    ...[...file.signing, ...file.sealing].flatMap(({ jwk }) => jwk.d ?? []),
  ];
  const forms = [...Object.values(SECRETS), ...keys].flatMap((secret) => [
    secret,
    new TextEncoder().encode(secret).toHex(),
    new TextEncoder().encode(secret).toBase64({ omitPadding: true }).slice(0, -1),
  ]);
  const raw = keys.map((key) => Uint8Array.fromBase64(key, { alphabet: "base64url" }).toHex());
  for (const form of [...forms, ...raw]) assert.ok(!dump.includes(form), "a secret is in the dump");
});

Deno.test("openSecrets() refuses another credential, another version and every altered byte", async () => {
  const { ring } = await makeRing();
  const version = { credentialId: newId<CredentialId>(), version: 3 };
  const envelope = await sealSecrets(ring, { ...version, secrets: { password: "p" } });
  const refused = (change: object) =>
    assert.rejects(openSecrets(ring, { ...version, envelope, ...change }), SealError);
  await refused({ credentialId: newId<CredentialId>() });
  await refused({ version: 2 });
  for (const part of ["wrappedKey", "nonce", "ciphertext"] as const) {
    for (let at = 0; at < envelope[part].length; at++) {
      const bytes = Uint8Array.from(envelope[part]);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      await refused({ envelope: { ...envelope, [part]: bytes } });
    }
  }
  const other = await sealSecrets(ring, { ...version, secrets: { password: "q" } });
  await refused({ envelope: { ...envelope, wrappedKey: other.wrappedKey } });
  await refused({ envelope: { ...envelope, kekId: "kek-of-nobody" } });
});

Deno.test("openEnvelope() refuses a context whose parts merely join to the same text", async () => {
  const { ring } = await makeRing();
  const plaintext = new Uint8Array([1, 2, 3]);
  const envelope = await sealEnvelope(ring, { context: ["blob", "a", "bc"], plaintext });
  await assert.rejects(openEnvelope(ring, { context: ["blob", "ab", "c"], envelope }), SealError);
  const opened = await openEnvelope(ring, { context: ["blob", "a", "bc"], envelope });
  assert.deepEqual(opened, plaintext);
});

Deno.test("openSecrets() opens under an old key-encryption key, sealSecrets() uses the new one", async () => {
  const { file: old, ring: oldRing } = await makeRing();
  const version = { credentialId: newId<CredentialId>(), version: 1 };
  const envelope = await sealSecrets(oldRing, { ...version, secrets: SECRETS });
  const { file: added } = await makeRing();
  const rotated = await openKeyRing({
    ...old,
    kek: [...old.kek.map((key) => ({ ...key, active: false })), ...added.kek],
  });
  assert.deepEqual(await openSecrets(rotated, { ...version, envelope }), SECRETS);
  const fresh = await sealSecrets(rotated, { ...version, secrets: SECRETS });
  assert.equal(fresh.kekId, added.kek[0]?.id);
  await assert.rejects(openSecrets(oldRing, { ...version, envelope: fresh }), /has no such key/);
});

Deno.test("sealForAgent() is opened by that agent alone and says its type and its digest", async () => {
  const agent = await generateKeyPair("ECDH-ES", { crv: "X25519", extractable: true });
  const other = await generateKeyPair("ECDH-ES", { crv: "X25519" });
  const credential = SealedCredential.parse({
    leaseId: newId<LeaseId>(),
    epoch: 2,
    deviceId: newId<DeviceId>(),
    host: "192.0.2.7",
    port: 22,
    username: "backup",
    password: SECRETS.password,
  });
  const sealed = await sealForAgent(credential, await exportJWK(agent.publicKey));
  assert.equal(sealed.sha256, await sha256(sealed.jwe));
  assert.ok(!sealed.jwe.includes(credential.host));
  const pinned = {
    keyManagementAlgorithms: ["ECDH-ES"],
    contentEncryptionAlgorithms: ["A256GCM"],
    maxDecompressedLength: 0,
  };
  const opened = await compactDecrypt(sealed.jwe, agent.privateKey, pinned);
  assert.equal(opened.protectedHeader.typ, CREDENTIAL_TYPE);
  assert.equal(opened.protectedHeader.cty, CREDENTIAL_TYPE);
  assert.deepEqual(JSON.parse(new TextDecoder().decode(opened.plaintext)), credential);
  await assert.rejects(compactDecrypt(sealed.jwe, other.privateKey, pinned));
});

Deno.test("sealForAgent() refuses a key that is no X25519 key", async () => {
  const signing = await generateKeyPair("Ed25519", { extractable: true });
  const credential = SealedCredential.parse({
    leaseId: newId<LeaseId>(),
    epoch: 1,
    deviceId: newId<DeviceId>(),
    host: "192.0.2.7",
    port: 22,
    username: "backup",
  });
  await assert.rejects(sealForAgent(credential, await exportJWK(signing.publicKey)));
  await assert.rejects(sealForAgent(credential, { kty: "oct", k: "AAAA" }));
});

Deno.test("assertSameKeys() writes the fingerprints once and refuses any other key from then on", async () => {
  const { file, ring } = await makeRing();
  const { file: other, ring: otherRing } = await makeRing();
  await database.db.updateTable("installation").set({ keyFingerprints: null }).execute();
  const starts = await Promise.allSettled(
    [ring, otherRing].map((keyRing) => assertSameKeys(database.db, keyRing)),
  );
  assert.deepEqual(starts.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);

  await database.db.updateTable("installation").set({ keyFingerprints: null }).execute();
  await assertSameKeys(database.db, ring);
  await assertSameKeys(database.db, await openKeyRing(file));
  for (const part of ["signing", "sealing", "kek", "derivation"] as const) {
    const changed = await openKeyRing({ ...file, [part]: other[part] });
    await assert.rejects(assertSameKeys(database.db, changed), (error: unknown) => {
      assert.ok(error instanceof KeyFileError);
      assert.ok(error.message.includes(`(${part} keys differ)`), error.message);
      assert.match(error.message, /ROOKERY_KEYS/);
      return true;
    });
  }
});

async function storeVersion(
  { credentialId, version }: { credentialId: CredentialId; version: number },
  envelope: Envelope,
): Promise<void> {
  const { id: tenantId } = await database.db.selectFrom("tenants").select("id")
    .executeTakeFirstOrThrow();
  const credential = { id: credentialId, tenantId: tenantId as TenantId, username: "backup" };
  await database.db.insertInto("credentials").values({ ...credential, name: credentialId })
    .execute();
  await database.db.insertInto("credentialVersions").values({
    credentialId,
    version,
    ...envelope,
    hasPassword: true,
    hasPrivateKey: true,
    hasEnableSecret: true,
  }).execute();
}

/** Every row of every table as text, bytea in hexadecimal. */
async function dumpTables(): Promise<string> {
  const tables = await database.sql<{ name: string }[]>`
    select quote_ident(table_name) as name from information_schema.tables
    where table_schema = 'public' and table_type = 'BASE TABLE'`;
  const texts = await Promise.all(
    tables.map(({ name }) =>
      database.sql.unsafe<{ text: string }[]>(`select t::text as text from ${name} t`)
    ),
  );
  return texts.flat().map(({ text }) => text).join("\n");
}
