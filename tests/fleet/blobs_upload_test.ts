/** Configurations on their way to the control plane: compressed, cut, slow, too large, and whose business they are. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { sql } from "kysely";
import { hasBlob, putBlob } from "@rookery/shared/api/agent_protocol.ts";
import { UPLOAD_ID, UPLOAD_LENGTH, UPLOAD_OFFSET } from "@rookery/shared/api/blob_upload.ts";
import { updateDevice } from "@rookery/shared/api/devices.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { LeaseId, Sha256 } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { clearParcel } from "../../agent/parcel.ts";
import { sendParcel } from "../../agent/send_parcel.ts";
import { compress } from "../../agent/zstd.ts";
import { readBlob } from "../../control-plane/backups/blob_store.ts";
import { receiveBody } from "../../control-plane/backups/receive_body.ts";
import { deleteOldParts } from "../../control-plane/backups/upload_parts.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  makeSite,
  type ManualBoot,
} from "../support/agent_bench.ts";
import { frrConfiguration } from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { deliveryOf } from "../support/spool.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

function problem(type: ProblemType) {
  return (error: unknown) => error instanceof ProblemError && error.type === type;
}

/** Two devices, each with a lease of one agent. */
async function setScene({ maxBytes }: { maxBytes?: number } = {}) {
  const siteId = await makeSite(plane);
  const deviceIds = [await addDevice(plane, siteId), await addDevice(plane, siteId)];
  const admin = await plane.administrator();
  for (const deviceId of maxBytes === undefined ? [] : deviceIds) {
    await admin.call(updateDevice, { params: { deviceId }, body: { maxBytes: maxBytes ?? 0 } });
  }
  const enrolled = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, enrolled);
  await backUpNow(plane, deviceIds);
  const [lease = assert.fail(), other = assert.fail()] = await boot.claim();
  return {
    siteId,
    boot,
    lease,
    other,
    deviceId: lease.device.id,
    [Symbol.asyncDispose]: () => enrolled[Symbol.asyncDispose](),
  };
}

interface Sent {
  readonly leaseId: LeaseId;
  readonly sha256: Sha256;
  readonly body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly headers?: Record<string, string>;
}

async function put(boot: ManualBoot, { leaseId, sha256, body, headers = {} }: Sent): Promise<void> {
  const options = { headers, signal: AbortSignal.timeout(60_000) };
  await boot.controlPlane.call(putBlob, { params: { leaseId, sha256 }, body }, options);
}

/** What HEAD says: whether it is there, and how much of an upload waits. */
async function look(boot: ManualBoot, params: { leaseId: LeaseId; sha256: Sha256 }) {
  let headers = new Headers();
  const onHeaders = (received: Headers) => headers = received;
  const options = { onHeaders, signal: AbortSignal.timeout(60_000) };
  const there = await boot.controlPlane.call(hasBlob, { params }, options)
    .then(() => true, (error: unknown) => {
      assert.ok(error instanceof ProblemError && error.type === "not-found", String(error));
      return false;
    });
  const field = (name: string) => headers.get(name);
  return {
    there,
    id: field(UPLOAD_ID),
    offset: field(UPLOAD_OFFSET),
    takes: field("accept-encoding"),
  };
}

/** Bytes that do not compress. */
function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  }
  return bytes;
}

/** Sends so many of these bytes, and then the line breaks: what is not read by then is lost on the way. */
function brokenAfter(bytes: Uint8Array<ArrayBuffer>, count: number) {
  let at = 0;
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      if (at >= count) {
        await delay(100);
        return controller.error(new TypeError("the connection broke"));
      }
      const next = Math.min(count, at + 50_000);
      controller.enqueue(bytes.slice(at, next));
      at = next;
    },
  });
}

async function uploadHeaders(body: Uint8Array<ArrayBuffer>, offset = 0) {
  return {
    [UPLOAD_ID]: await sha256(body),
    [UPLOAD_OFFSET]: String(offset),
    [UPLOAD_LENGTH]: String(body.length),
  };
}

async function stored(
  { siteId }: { siteId: Awaited<ReturnType<typeof makeSite>> },
  digest: Sha256,
) {
  return await readBlob(database.db, { keyRing: plane.services.keyRing, siteId, sha256: digest });
}

async function countParts(leaseId: LeaseId): Promise<number> {
  const rows = await database.db.selectFrom("uploadParts").select("startAt")
    .where("leaseId", "=", leaseId).execute();
  return rows.length;
}

Deno.test("an upload that was cut goes on where it was cut, at any offset, and is stored whole", async () => {
  await using scene = await setScene();
  const { boot, lease: { jti: leaseId } } = scene;
  const cuts = [[1], [999_999], [1_048_576, 1_048_577], [300_000, 1_400_000]];
  let goneOn = 0;
  for (const offsets of cuts) {
    const bytes = randomBytes(1_500_000);
    const name = { leaseId, sha256: await sha256(bytes) };
    let from = 0;
    for (const until of offsets) {
      const body = brokenAfter(bytes.slice(from), until - from);
      await assert.rejects(put(boot, { ...name, body, headers: await uploadHeaders(bytes, from) }));
      const { there, id, offset } = await look(boot, name);
      from = Number(offset ?? 0);
      assert.ok(!there && from <= until && (id === null || id === await sha256(bytes)));
    }
    goneOn += Math.sign(from);
    const headers = await uploadHeaders(bytes, from);
    await put(boot, { ...name, body: bytes.slice(from), headers });
    assert.deepEqual(await stored(scene, name.sha256), bytes, `cut at ${offsets}`);
    assert.equal(await countParts(leaseId), 0);
  }
  assert.ok(goneOn >= 2, `of ${cuts.length} uploads ${goneOn} went on where they were cut`);
});

Deno.test("the rest of another body, or from another offset, is never put together with what is there", async () => {
  await using scene = await setScene();
  const { boot, lease: { jti: leaseId } } = scene;
  const bytes = randomBytes(200_000);
  const name = { leaseId, sha256: await sha256(bytes) };
  const headers = await uploadHeaders(bytes);
  const start = { ...name, body: bytes.slice(0, 100_000), headers };
  await assert.rejects(put(boot, start), problem("upload-offset"));
  for (const offset of [99_999, 100_001, 150_000]) {
    const wrong = { ...headers, [UPLOAD_OFFSET]: String(offset) };
    const sent = { ...name, body: bytes.slice(offset), headers: wrong };
    await assert.rejects(put(boot, sent), problem("upload-offset"));
  }
  const otherId = { ...headers, [UPLOAD_ID]: await sha256("another"), [UPLOAD_OFFSET]: "100000" };
  const ofOther = { ...name, body: bytes.slice(100_000), headers: otherId };
  await assert.rejects(put(boot, ofOther), problem("upload-offset"));
  const rest = { ...headers, [UPLOAD_OFFSET]: "100000" };
  const wrongRest = { ...name, body: randomBytes(100_000), headers: rest };
  await assert.rejects(put(boot, wrongRest), problem("malformed"));
  assert.deepEqual(await look(boot, name), { there: false, id: null, offset: null, takes: "zstd" });
  await put(boot, { ...name, body: bytes, headers });
  assert.deepEqual(await stored(scene, name.sha256), bytes);
});

Deno.test("what waits of an upload is sealed, bounded, of its own lease, and gone after a day", async () => {
  await using scene = await setScene({ maxBytes: 300_000 });
  const { boot, lease: { jti: leaseId }, other } = scene;
  const text = new TextEncoder().encode("hostname core-1 ".repeat(10_000));
  const name = { leaseId, sha256: await sha256(text) };
  const headers = await uploadHeaders(text);
  const start = { ...name, body: text.slice(0, 90_000), headers };
  await assert.rejects(put(boot, start), problem("upload-offset"));
  const { rows: [row = assert.fail()] } = await sql<{ ciphertext: Uint8Array }>`
    select ciphertext from upload_parts where lease_id = ${leaseId}`.execute(database.db);
  assert.ok(!new TextDecoder("latin1").decode(row.ciphertext).includes("core-1"));
  const elsewhere = { ...name, leaseId: other.jti };
  assert.deepEqual(await look(boot, elsewhere), {
    there: false,
    id: null,
    offset: null,
    takes: "zstd",
  });
  const rest = { ...headers, [UPLOAD_OFFSET]: "90000" };
  const stolen = { ...elsewhere, body: text.slice(90_000), headers: rest };
  await assert.rejects(put(boot, stolen), problem("upload-offset"));
  for (let n = 0; n < 10; n++) {
    const bytes = randomBytes(250_000);
    const cut = { body: bytes.slice(0, 200_000), headers: await uploadHeaders(bytes) };
    const sent = { leaseId, sha256: await sha256(bytes), ...cut };
    await assert.rejects(put(boot, sent), problem("upload-offset"));
  }
  const waiting = await database.db.selectFrom("uploadParts").select("bytes")
    .where("leaseId", "=", leaseId).execute();
  assert.ok(waiting.reduce((sum, { bytes }) => sum + bytes, 0) <= 600_000);
  await sql`update upload_parts set received_at = now() - interval '25 hours'
    where lease_id = ${leaseId}`.execute(database.db);
  await deleteOldParts(database.db);
  assert.equal(await countParts(leaseId), 0);
});

Deno.test("a body that somebody on the way ended early is told from a whole one", async () => {
  await using scene = await setScene();
  const { boot, lease: { jti: leaseId } } = scene;
  const bytes = randomBytes(120_000);
  const name = { leaseId, sha256: await sha256(bytes) };
  const early = { ...name, body: bytes.slice(0, 70_000), headers: await uploadHeaders(bytes) };
  await assert.rejects(put(boot, early), problem("upload-offset"));
  assert.equal((await look(boot, name)).offset, "70000");
  await put(boot, {
    ...name,
    body: bytes.slice(70_000),
    headers: await uploadHeaders(bytes, 70_000),
  });
  assert.deepEqual(await stored(scene, name.sha256), bytes);
});

Deno.test("the agent compresses for a control plane that says it takes it, and for no other", async () => {
  await using scene = await setScene();
  const { boot, lease, other } = scene;
  const seen: (string | null)[] = [];
  const by = { controlPlane: boot.controlPlane, log() {}, stopSignal: AbortSignal.timeout(60_000) };
  boot.wire.carrier = async (request, pass) => {
    if (request.method === "PUT") seen.push(request.headers.get("content-encoding"));
    const response = await pass(request);
    // As a control plane of an older version would answer the second time.
    if (request.method === "HEAD" && seen.length > 0) response.headers.delete("accept-encoding");
    return response;
  };
  for (const each of [lease, other]) {
    const text = frrConfiguration({ password: each.jti });
    await sendParcel(clearParcel(await deliveryOf(boot, each, text)), by);
    const bytes = new TextEncoder().encode(text);
    assert.deepEqual(await stored(scene, await sha256(bytes)), bytes);
  }
  assert.deepEqual(seen, ["zstd", null]);
});

Deno.test("sendParcel() goes on where its upload was cut", async () => {
  await using scene = await setScene();
  const { boot, lease } = scene;
  const by = { controlPlane: boot.controlPlane, log() {}, stopSignal: AbortSignal.timeout(60_000) };
  const bytes = randomBytes(400_000);
  const digest = await sha256(bytes);
  const uploads = [{ sha256: digest, bytes }];
  const parcel = clearParcel({
    leaseId: lease.jti,
    result: "none that anybody would take",
    uploads,
  });
  const offsets: number[] = [];
  boot.wire.carrier = async (request, pass) => {
    if (request.method !== "PUT") return await pass(request);
    offsets.push(Number(request.headers.get(UPLOAD_OFFSET)));
    if (offsets.length > 1) return await pass(request);
    const body = brokenAfter(await request.bytes(), 150_000);
    const { url, method, headers, signal } = request;
    return await pass(new Request(url, { method, headers, signal, body }));
  };
  await assert.rejects(sendParcel(parcel, by));
  await assert.rejects(sendParcel(parcel, by), problem("validation"));
  const [first, second = 0] = offsets;
  assert.ok(first === 0 && second > 0 && second <= 150_000, String(offsets));
  assert.deepEqual(await stored(scene, digest), bytes);
});

Deno.test("a compressed body that grows beyond the device's limit is refused before it has grown", async () => {
  await using scene = await setScene({ maxBytes: 65_536 });
  const { boot, lease: { jti: leaseId } } = scene;
  const headers = { "content-encoding": "zstd" };
  const large = new Uint8Array(65_537);
  const bomb = compress(new Uint8Array(90_000_000));
  assert.ok(bomb.length < 20_000);
  for (const body of [compress(large), bomb]) {
    const name = { leaseId, sha256: await sha256(large) };
    await assert.rejects(put(boot, { ...name, body, headers }), problem("too-large"));
  }
  const largest = new Uint8Array(65_536);
  const name = { leaseId, sha256: await sha256(largest) };
  const half = compress(randomBytes(60_000)).slice(0, 30_000);
  for (const body of [new Uint8Array([1, 2, 3, 4]), half, new Uint8Array()]) {
    await assert.rejects(put(boot, { ...name, body, headers }), problem("malformed"));
  }
  await put(boot, { ...name, body: compress(largest), headers });
  assert.deepEqual(await stored(scene, name.sha256), largest);
});

Deno.test("an upload whose header fields are wrong is refused by the field", async () => {
  await using scene = await setScene();
  const { boot, lease: { jti: leaseId } } = scene;
  const body = new TextEncoder().encode("x");
  const name = { leaseId, sha256: await sha256(body) };
  const wrong: Record<string, string>[] = [
    { "content-encoding": "gzip" },
    { [UPLOAD_ID]: "x" },
    { [UPLOAD_ID]: await sha256(body), [UPLOAD_OFFSET]: "-1" },
    { [UPLOAD_ID]: await sha256(body), [UPLOAD_OFFSET]: "99999999999" },
    { [UPLOAD_ID]: await sha256(body), [UPLOAD_LENGTH]: "many" },
  ];
  for (const headers of wrong) {
    await assert.rejects(put(boot, { ...name, body, headers }), (error: unknown) => {
      assert.ok(error instanceof ProblemError && error.type === "validation", String(error));
      assert.equal(error.errors[0]?.pointer, `header:${Object.keys(headers).at(-1)}`);
      return true;
    });
  }
});

Deno.test("receiveBody() hands over what a sender brought that is too slow, and asks it for no more", async () => {
  const kept: number[] = [];
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (controller) => controller.enqueue(new Uint8Array(700)),
  });
  const onPiece = (piece: Uint8Array) => Promise.resolve(void kept.push(piece.length));
  const options = { maxBytes: 10_000, signal: AbortSignal.timeout(60_000), graceSeconds: 0.2 };
  await assert.rejects(receiveBody(body, { ...options, onPiece }), problem("too-slow"));
  assert.deepEqual(kept, [700]);
});
