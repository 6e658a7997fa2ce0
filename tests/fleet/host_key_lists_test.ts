import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import {
  createHostKey,
  decideHostKeys,
  importKnownHosts,
  listHostKeys,
  listHostKeyWindows,
  openHostKeyWindow,
  rejectHostKey,
} from "@rookery/shared/api/host_keys.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import {
  addDevice,
  addFarmDevice,
  backUpNow,
  enrolAgent,
  makeSite,
  startAgent,
  untilJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";

const plane = testControlPlane(testDatabase({ poolSize: 8 }), {
  publicUrl: "https://rookery.test",
});

Deno.test("a changed key waits, is rejected for good, or is accepted beforehand by a window, once for each device", async () => {
  const admin = await plane.administrator();
  await using device = await startDevice(makeRecording("frr", 1, { interfaces: 4 }));
  const siteId = await makeSite(plane);
  const deviceId = await addFarmDevice(plane, siteId, device);
  await using enrolled = await enrolAgent(plane, [siteId]);
  await using _running = await startAgent(plane, enrolled);
  const backUp = async () => {
    const [jobId] = await backUpNow(plane, [deviceId]);
    return await untilJob(plane, jobId ?? assert.fail(), "completed", "failed");
  };
  assert.equal((await backUp()).state, "completed");
  device.setHostKey();
  assert.equal((await backUp()).failureCode, "host_key_changed");
  const query = { siteId, state: "pending" } as const;
  const { items: [waiting] } = await admin.call(listHostKeys, { query });
  assert.equal(waiting?.changed, true);
  await admin.call(rejectHostKey, { params: { hostKeyId: waiting?.id ?? assert.fail() } });
  await admin.call(openHostKeyWindow, { body: { siteId, minutes: 30 } });
  assert.equal((await backUp()).failureCode, "host_key_changed");
  assert.deepEqual((await admin.call(listHostKeys, { query })).items, []);
  const { items: alarms } = await admin.call(listAuditRows, {
    query: { action: "host_key.rejected_shown" },
  });
  assert.equal(alarms.length, 1);
  device.setHostKey();
  const renewed = await backUp();
  assert.equal(renewed.state, "completed");
  assert.equal(renewed.attempts, 2);
  const { items: [pin] } = await admin.call(listHostKeys, { query: { siteId, state: "accepted" } });
  assert.deepEqual([pin?.source, pin?.fingerprint], ["window", device.hostKey.fingerprint]);
  device.setHostKey();
  assert.equal((await backUp()).failureCode, "host_key_changed");
  const { items: [window] } = await admin.call(listHostKeyWindows, { query: { siteId } });
  assert.equal(window?.used, 1);
});

Deno.test("decideHostKeys() decides a list, or a whole site if its count is right, and leaves doubtful devices alone", async () => {
  const admin = await plane.administrator();
  const siteId = await makeSite(plane);
  const [one, two] = [await addDevice(plane, siteId), await addDevice(plane, siteId)];
  const show = async (deviceId: typeof one, letter: string) => {
    const fingerprint = `SHA256:${letter.repeat(43)}`;
    await plane.services.db.insertInto("hostKeys").values({
      id: crypto.randomUUID() as never,
      ...{ siteId, deviceId, fingerprint },
      keyType: "ssh-ed25519",
      state: "pending",
      source: "reported",
      decidedAt: null,
      decidedBy: null,
    }).execute();
  };
  await show(one, "A");
  await show(two, "B");
  await show(two, "C");
  const wrong = admin.call(decideHostKeys, { body: { decision: "accept", siteId, expected: 2 } });
  await assert.rejects(
    wrong,
    (error: unknown) => error instanceof ProblemError && error.type === "conflict",
  );
  const decided = await admin.call(decideHostKeys, {
    body: { decision: "accept", siteId, expected: 3 },
  });
  assert.deepEqual(decided, { decided: 1, ambiguous: [two] });
  const { items } = await admin.call(listHostKeys, { query: { siteId, state: "pending" } });
  const hostKeyIds = items.map(({ id }) => id);
  const rest = await admin.call(decideHostKeys, { body: { decision: "reject", hostKeyIds } });
  assert.equal(rest.decided, 2);
});

Deno.test("importKnownHosts() reads what OpenSSH writes, and reports on every line", async () => {
  const admin = await plane.administrator();
  const siteId = await makeSite(plane);
  await addDevice(plane, siteId, { host: "core.test" });
  await addDevice(plane, siteId, { host: "192.0.2.7", port: 2222 });
  const conflicting = await addDevice(plane, siteId, { host: "pinned.test" });
  const fingerprint = `SHA256:${"D".repeat(43)}`;
  await admin.call(createHostKey, {
    body: { deviceId: conflicting, keyType: "ssh-ed25519", fingerprint },
  });
  const salt = new Uint8Array(20).fill(7);
  const hash = createHmac("sha1", salt).update("[192.0.2.7]:2222").digest("base64");
  const [key, other] = [makeKey(1), makeKey(2)];
  const text = [
    "# a comment",
    "",
    `core.test,unknown.test ssh-ed25519 ${key} somebody@somewhere`,
    `core.test ssh-ed25519 ${key}`,
    `|1|${salt.toBase64()}|${hash} ssh-ed25519 ${other}`,
    `@revoked core.test ssh-ed25519 ${other}`,
    `pinned.test ssh-ed25519 ${key}`,
    `*.test ssh-ed25519 ${key}`,
    "core.test ssh-rsa AAAA",
    `@cert-authority core.test ssh-ed25519 ${key}`,
  ].join("\n");
  const { items } = await admin.call(importKnownHosts, { body: { siteId, text } });
  assert.deepEqual(items.map(({ line, status }) => [line, status]), [
    [3, "imported"],
    [3, "no_such_device"],
    [4, "already_pinned"],
    [5, "imported"],
    [6, "revoked"],
    [7, "conflict"],
    [8, "unreadable"],
    [9, "unreadable"],
    [10, "unreadable"],
  ]);
  const { items: pins } = await admin.call(listHostKeys, { query: { siteId, state: "accepted" } });
  assert.deepEqual(pins.map(({ source }) => source).sort(), [
    "administrator",
    "known_hosts",
    "known_hosts",
  ]);
});

/** A blob as ssh-keygen writes it: the type and 32 bytes, each with its length. */
function makeKey(fill: number): string {
  const type = new TextEncoder().encode("ssh-ed25519");
  const blob = new Uint8Array(4 + type.length + 4 + 32).fill(fill);
  const view = new DataView(blob.buffer);
  view.setUint32(0, type.length);
  blob.set(type, 4);
  view.setUint32(4 + type.length, 32);
  return blob.toBase64();
}
