import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { createJoinToken } from "@rookery/shared/api/agents.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import {
  createCredential,
  deleteCredential,
  getCredential,
  listCredentials,
  updateCredential,
} from "@rookery/shared/api/credentials.ts";
import { archiveDevice, createDevice, updateDevice } from "@rookery/shared/api/devices.ts";
import { createJobs } from "@rookery/shared/api/jobs.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import { createTenant } from "@rookery/shared/api/tenants.ts";
import type { CredentialId, DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { openSecrets } from "../../control-plane/credentials/vault.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);
const PASSWORD = "Kuckuck-4711-Secret";
const ENABLE_SECRET = "Elster-0815-Secret";

Deno.test("a credential's secrets go in, open only with the keys, and never come out", async () => {
  const admin = await plane.administrator();
  const body = { name: "lab", username: "backup", password: PASSWORD, enableSecret: ENABLE_SECRET };
  const made = await admin.call(createCredential, { body });
  assert.deepEqual(
    [made.version, made.hasPassword, made.hasPrivateKey, made.hasEnableSecret, made.state],
    [1, true, false, true, "new"],
  );
  const params = { credentialId: made.id };
  const replies = [
    made,
    await admin.call(getCredential, { params }),
    await admin.call(listCredentials, {}),
    plane.log,
    await dump(),
  ];
  for (const reply of replies) assert.doesNotMatch(JSON.stringify(reply), /Kuckuck|Elster/);
  assert.deepEqual(await stored(made.id, 1), { password: PASSWORD, enableSecret: ENABLE_SECRET });
});

Deno.test("updateCredential() makes a new version of new secrets and keeps the version otherwise", async () => {
  const admin = await plane.administrator();
  const body = {
    name: "rotate",
    username: "backup",
    password: PASSWORD,
    enableSecret: ENABLE_SECRET,
  };
  const { id } = await admin.call(createCredential, { body });
  const params = { credentialId: id };
  const renamed = await admin.call(updateCredential, { params, body: { name: "rotated" } });
  assert.deepEqual([renamed.version, renamed.name], [1, "rotated"]);
  const rotated = await admin.call(updateCredential, { params, body: { password: "another one" } });
  assert.deepEqual([rotated.version, rotated.hasEnableSecret, rotated.state], [2, false, "new"]);
  assert.deepEqual(await stored(id, 2), { password: "another one" });
  assert.deepEqual(await stored(id, 1), { password: PASSWORD, enableSecret: ENABLE_SECRET });
  const half = admin.call(updateCredential, { params, body: { enableSecret: ENABLE_SECRET } });
  await refusedAs("validation", half, "#/password");
});

Deno.test("createCredential() refuses keys that agents cannot use, and says which formats work", async () => {
  const admin = await plane.administrator();
  const { privateKey, publicKey } = generateKeyPairSync("ed25519", {
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  const base = { username: "backup" };
  const made = await admin.call(createCredential, { body: { ...base, name: "key", privateKey } });
  assert.deepEqual([made.hasPassword, made.hasPrivateKey], [false, true]);
  const useless = ["x", publicKey, "PuTTY-User-Key-File-3: ssh-ed25519\n", privateKey.slice(0, 60)];
  for (const key of useless) {
    const call = admin.call(createCredential, { body: { ...base, name: "bad", privateKey: key } });
    const error = await refusedAs("validation", call, "#/privateKey");
    assert.match(error.errors[0]?.detail ?? "", /Convert|Formats that work|private key|damaged/);
  }
  const encrypted = generateKeyPairSync("ed25519", {
    privateKeyEncoding: {
      type: "pkcs8",
      format: "pem",
      cipher: "aes-256-cbc",
      passphrase: "open sesame",
    },
    publicKeyEncoding: { type: "spki", format: "pem" },
  }).privateKey;
  const locked = { ...base, name: "locked", privateKey: encrypted };
  await refusedAs("validation", admin.call(createCredential, { body: locked }), "#/passphrase");
  await admin.call(createCredential, { body: { ...locked, passphrase: "open sesame" } });
});

Deno.test("createCredential() wants something to log in with, and a name of its own", async () => {
  const admin = await plane.administrator();
  const base = { name: "own name", username: "backup" };
  await refusedAs("validation", admin.call(createCredential, { body: base }), "#/password");
  const alone = { ...base, passphrase: "x", password: "y" };
  await refusedAs("validation", admin.call(createCredential, { body: alone }), "#/passphrase");
  for (const password of ["", "two\nlines", "NUL\0"]) {
    const call = admin.call(createCredential, { body: { ...base, password } });
    await refusedAs("validation", call, "#/password");
  }
  await admin.call(createCredential, { body: { ...base, password: "y" } });
  const again = { ...base, name: "OWN NAME", password: "y" };
  await refusedAs("conflict", admin.call(createCredential, { body: again }), "#/name");
});

Deno.test("deleteCredential() refuses one that a device uses", async () => {
  const admin = await plane.administrator();
  const body = { name: "in use", username: "backup", password: PASSWORD };
  const { id: credentialId } = await admin.call(createCredential, { body });
  const { id: siteId } = await admin.call(createSite, { body: { name: "uses" } });
  const device = { siteId, name: "user", host: "192.0.2.1", platform: "frr", credentialId };
  const { id: deviceId } = await admin.call(createDevice, { body: device });
  await refusedAs("in-use", admin.call(deleteCredential, { params: { credentialId } }));
  assert.equal((await admin.call(getCredential, { params: { credentialId } })).devices, 1);
  await admin.call(archiveDevice, { params: { deviceId } });
  const { devices, archivedDevices } = await admin.call(getCredential, {
    params: { credentialId },
  });
  assert.deepEqual([devices, archivedDevices], [0, 1]);
  const used = await refusedAs(
    "in-use",
    admin.call(deleteCredential, { params: { credentialId } }),
  );
  assert.match(used.message, /in use that have it: 0; archived ones: 1\. Give them another/);
  const change = { params: { deviceId }, body: { credentialId: null } };
  await admin.call(updateDevice, change);
  await admin.call(deleteCredential, { params: { credentialId } });
  const unused = { name: "unused", username: "backup", password: PASSWORD };
  const { id } = await admin.call(createCredential, { body: unused });
  await admin.call(deleteCredential, { params: { credentialId: id } });
  await refusedAs("not-found", admin.call(getCredential, { params: { credentialId: id } }));
});

Deno.test("an id in upper case is the same id: what is sealed and audited under it is found again", async () => {
  const admin = await plane.administrator();
  const body = { name: "shouted", username: "backup", password: PASSWORD };
  const { id } = await admin.call(createCredential, { body });
  const shouted = id.toUpperCase() as CredentialId;
  const params = { credentialId: shouted };
  const changed = await admin.call(updateCredential, { params, body: { password: "another one" } });
  assert.equal(changed.version, 2);
  assert.deepEqual(await stored(id, 2), { password: "another one" });
  const { items } = await admin.call(listAuditRows, { query: { targetId: id } });
  assert.deepEqual(items.map(({ action }) => action), ["credential.update", "credential.create"]);
  const { id: siteId } = await admin.call(createSite, { body: { name: "shouted" } });
  const device = { siteId, name: "shouted", host: "192.0.2.8", platform: "frr" };
  const { id: deviceId } = await admin.call(createDevice, { body: device });
  const deviceIds = [deviceId.toUpperCase() as DeviceId];
  const { jobs } = await admin.call(createJobs, { body: { deviceIds } });
  assert.equal(jobs[0]?.deviceId, deviceId);
  const siteIds = [siteId.toUpperCase() as SiteId];
  const token = await admin.call(createJoinToken, { body: { agentName: "shouted", siteIds } });
  assert.deepEqual(token.siteIds, [siteId]);
});

Deno.test("a device cannot use the credential of another tenant", async () => {
  const admin = await plane.administrator();
  const { id: siteId, tenantId } = await admin.call(createSite, { body: { name: "mine" } });
  const { id: other } = await admin.call(createTenant, { body: { name: "Other" } });
  const body = { name: "theirs", username: "backup", password: PASSWORD, tenantId: other };
  const { id: credentialId } = await admin.call(createCredential, { body });
  const device = { siteId, name: "thief", host: "192.0.2.7", platform: "frr", credentialId };
  await refusedAs("validation", admin.call(createDevice, { body: device }), "#/credentialId");
  const own = { ...body, name: "ours", tenantId };
  const { id } = await admin.call(createCredential, { body: own });
  await admin.call(createDevice, { body: { ...device, credentialId: id } });
});

async function stored(credentialId: CredentialId, version: number) {
  const envelope = await database.db.selectFrom("credentialVersions")
    .select(["kekId", "wrappedKey", "nonce", "ciphertext"])
    .where("credentialId", "=", credentialId).where("version", "=", version)
    .executeTakeFirstOrThrow();
  return await openSecrets(plane.services.keyRing, { credentialId, version, envelope });
}

async function dump(): Promise<unknown> {
  return await database.sql`
    select (select json_agg(c)::text from credentials c) || (select json_agg(a)::text from audit_rows a),
      encode(ciphertext, 'escape') from credential_versions`;
}

async function refusedAs(
  type: ProblemType,
  promise: Promise<unknown>,
  pointer?: string,
): Promise<ProblemError> {
  const error = await promise.then(() => undefined, (reason: unknown) => reason);
  assert.ok(error instanceof ProblemError, String(error));
  assert.equal(error.type, type);
  if (pointer !== undefined) assert.ok(error.errors.some((field) => field.pointer === pointer));
  return error;
}
