import assert from "node:assert/strict";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { LeaseId } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import {
  deviceHasDigest,
  leaseHasDigest,
  putBlob,
  readBlob,
} from "../../control-plane/backups/blob_store.ts";
import { openBlob, sealBlob } from "../../control-plane/backups/blob_seal.ts";
import { receiveBody } from "../../control-plane/backups/receive_body.ts";
import { startTexts } from "../../control-plane/backups/texts.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import { SealError } from "../../control-plane/keys/envelope.ts";
import { makeKeys } from "../../control-plane/keys/key_file.ts";
import { openKeyRing } from "../../control-plane/keys/key_ring.ts";
import { frrConfiguration, makeReportingDevice, report } from "../support/backup_report.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const keyRing = await openKeyRing(await makeKeys());
const never = new AbortController().signal;

Deno.test("putBlob() stores bytes once, however often and by whomever they are sent", async () => {
  const { siteId } = await makeReportingDevice(database.db);
  const bytes = new Uint8Array([0, 255, 128, 10, 13, 200]);
  const digest = await sha256(bytes);
  const leases = Array.from({ length: 4 }, () => newId<LeaseId>());
  await Promise.all(
    leases.map((leaseId) =>
      putBlob(database.db, { keyRing, siteId, leaseId, bytes, sha256: digest })
    ),
  );
  const rows = await database.db.selectFrom("blobs").select("bytes").where("siteId", "=", siteId)
    .execute();
  assert.deepEqual(rows, [{ bytes: 6 }]);
  assert.deepEqual(await readBlob(database.db, { keyRing, siteId, sha256: digest }), bytes);
  for (const leaseId of leases) {
    assert.ok(await leaseHasDigest(database.db, { leaseId, sha256: digest }));
  }
  const stranger = { leaseId: newId<LeaseId>(), sha256: digest };
  assert.equal(await leaseHasDigest(database.db, stranger), false);
});

Deno.test("putBlob() refuses bytes of another digest and stores nothing", async () => {
  const { siteId } = await makeReportingDevice(database.db);
  const leaseId = newId<LeaseId>();
  const bytes = new TextEncoder().encode("these bytes");
  const digest = await sha256("other bytes");
  await assert.rejects(
    putBlob(database.db, { keyRing, siteId, leaseId, bytes, sha256: digest }),
    isProblem("malformed"),
  );
  assert.equal(await readBlob(database.db, { keyRing, siteId, sha256: digest }), undefined);
  assert.equal(await leaseHasDigest(database.db, { leaseId, sha256: digest }), false);
});

Deno.test("deviceHasDigest() says yes about the device's own digests alone", async () => {
  const device = await makeReportingDevice(database.db);
  const neighbour = await makeReportingDevice(database.db, { siteId: device.siteId });
  const text = frrConfiguration();
  const digest = await sha256(text);
  using texts = startTexts();
  assert.ok((await report({ db: database.db, keyRing, texts }, device, text)).ok);
  assert.equal(await deviceHasDigest(database.db, { ...device, sha256: digest }), true);
  assert.equal(await deviceHasDigest(database.db, { ...neighbour, sha256: digest }), false);
});

Deno.test("openBlob() opens for its site and digest alone, and no more than was announced", async () => {
  const device = await makeReportingDevice(database.db);
  const elsewhere = await makeReportingDevice(database.db);
  const bytes = new TextEncoder().encode("x".repeat(100_000));
  const name = { siteId: device.siteId, sha256: await sha256(bytes) };
  const sealed = await sealBlob(keyRing, { ...name, bytes });
  assert.ok(sealed.ciphertext.length < 1_000, "it is compressed");
  assert.deepEqual(await openBlob(keyRing, { ...name, sealed }), bytes);
  const moved = { ...name, siteId: elsewhere.siteId };
  await assert.rejects(openBlob(keyRing, { ...moved, sealed }), SealError);
  const renamed = { ...name, sha256: await sha256("another") };
  await assert.rejects(openBlob(keyRing, { ...renamed, sealed }), SealError);
  await assert.rejects(openBlob(keyRing, { ...name, sealed: { ...sealed, bytes: 99_999 } }));
});

Deno.test("receiveBody() gives the bytes that were announced, however they are cut", async () => {
  const bytes = crypto.getRandomValues(new Uint8Array(50_000));
  const digest = await sha256(bytes);
  const body = ReadableStream.from(cut(bytes, 777));
  const received = await receiveBody(body, { sha256: digest, maxBytes: 50_000, signal: never });
  assert.deepEqual(received, bytes);
  await assert.rejects(
    receiveBody(ReadableStream.from(cut(bytes, 777)), {
      sha256: await sha256("other"),
      maxBytes: 50_000,
      signal: never,
    }),
    isProblem("malformed"),
  );
});

Deno.test("receiveBody() stops an endless body at its limit and cancels the sender", async () => {
  let sent = 0;
  let cancelled = false;
  const endless = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      sent += 1_000;
      controller.enqueue(new Uint8Array(1_000));
    },
    cancel() {
      cancelled = true;
    },
  });
  const options = { sha256: await sha256(""), maxBytes: 10_000, signal: never };
  await assert.rejects(receiveBody(endless, options), isProblem("too-large"));
  assert.ok(cancelled);
  assert.ok(sent <= 13_000, `${sent} bytes were asked for`);
});

Deno.test("receiveBody() waits neither for a sender that drips nor after an abort", async () => {
  const silent = () => new ReadableStream<Uint8Array<ArrayBuffer>>({ start() {} });
  const options = { sha256: await sha256(""), maxBytes: 10_000 };
  await assert.rejects(
    receiveBody(silent(), { ...options, signal: never, graceSeconds: 0.02 }),
    isProblem("too-slow"),
  );
  const abort = new AbortController();
  const waiting = receiveBody(silent(), { ...options, signal: abort.signal });
  abort.abort(new Error("gone"));
  await assert.rejects(waiting, /gone/);
});

function* cut(bytes: Uint8Array<ArrayBuffer>, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

function isProblem(type: ProblemType): (error: unknown) => boolean {
  return (error) => error instanceof ProblemError && error.type === type;
}
