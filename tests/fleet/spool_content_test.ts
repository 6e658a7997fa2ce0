/** What an agent kept sealed: opened by the control plane, checked like what comes in the clear, and worth keeping late. */
import assert from "node:assert/strict";
import { sql } from "kysely";
import { putBlob, reportResult } from "@rookery/shared/api/agent_protocol.ts";
import { updateDevice } from "@rookery/shared/api/devices.ts";
import { cancelJob } from "@rookery/shared/api/jobs.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { AgentId, LeaseId, Sha256 } from "@rookery/shared/ids.ts";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import type { Delivery } from "../../agent/deliver.ts";
import { sealCapture, sealResult } from "../../agent/seal_report.ts";
import { makeKeys } from "../../control-plane/keys/key_file.ts";
import { openKeyRing } from "../../control-plane/keys/key_ring.ts";
import { reapLeases } from "../../control-plane/jobs/reap.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  type EnrolledAgent,
  makeSite,
  type ManualBoot,
  readJob,
} from "../support/agent_bench.ts";
import { frrConfiguration } from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { deliveryOf } from "../support/spool.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const encoder = new TextEncoder();

function problem(type: ProblemType) {
  return (error: unknown) => error instanceof ProblemError && error.type === type;
}

/** A device with a job, and two agents of its site, the first of which holds the lease. */
async function setScene() {
  const siteId = await makeSite(plane);
  const deviceId = await addDevice(plane, siteId);
  const enrolled = await enrolAgent(plane, [siteId]);
  const other = await enrolAgent(plane, [siteId]);
  const first = await bootByHand(plane, enrolled);
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  const [lease = assert.fail()] = await first.claim();
  return {
    deviceId,
    jobId,
    enrolled,
    first,
    second: await bootByHand(plane, other),
    lease,
    async [Symbol.asyncDispose]() {
      await enrolled[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
    },
  };
}

type Scene = Awaited<ReturnType<typeof setScene>>;

/** Delivers a report in its sealed form, as the replay does. */
async function replay(boot: ManualBoot, { identity }: EnrolledAgent, delivery: Delivery) {
  const { leaseId, uploads: [upload = assert.fail()], result } = delivery;
  const digest = upload.sha256 as Sha256;
  const key = identity.sealingKey;
  await putSealed(boot, await sealCapture(key, { leaseId, sha256: digest, bytes: upload.bytes }), {
    leaseId,
    sha256: digest,
  });
  const sealed = await sealResult(key, { leaseId, result });
  return await boot.call(reportResult, { params: { leaseId }, body: { sealed } });
}

async function putSealed(
  boot: ManualBoot,
  jwe: string,
  params: { leaseId: LeaseId; sha256: Sha256 },
) {
  await boot.controlPlane.call(putBlob, { params, body: encoder.encode(jwe) }, {
    headers: { "content-type": "application/jose" },
    signal: AbortSignal.timeout(30_000),
  });
}

/** The agent is not heard any more: its job waits again, at once. */
async function loseSession(agentId: AgentId): Promise<void> {
  await sql`update agent_sessions set expires_at = clock_timestamp() - interval '1 second'
    where agent_id = ${agentId}`.execute(database.db);
  await reapLeases(database.db);
  await sql`update ready set due_at = now(), rank = now() where late_agent_id = ${agentId}`
    .execute(database.db);
}

async function revisionsOf({ deviceId }: Pick<Scene, "deviceId">) {
  return await database.db.selectFrom("revisions")
    .select(["number", "rawSha256", "state", "firstSeenAt", "lastSeenAt"])
    .where("deviceId", "=", deviceId).orderBy("number").execute();
}

async function countBackups({ deviceId }: Pick<Scene, "deviceId">): Promise<number> {
  const rows = await database.db.selectFrom("backups").select("id")
    .where("deviceId", "=", deviceId).execute();
  return rows.length;
}

Deno.test("a sealed report counts like a clear one, and is the same envelope", async () => {
  await using scene = await setScene();
  const { first, enrolled, lease, jobId } = scene;
  const delivery = await deliveryOf(first, lease, frrConfiguration());
  const accepted = { answer: "accepted", duplicate: false };
  assert.deepEqual(await replay(first, enrolled, delivery), accepted);
  const again = { answer: "accepted", duplicate: true };
  assert.deepEqual(await replay(first, enrolled, delivery), again);
  const clear = { params: { leaseId: lease.jti }, body: { result: delivery.result } };
  assert.deepEqual(await first.call(reportResult, clear), again);
  assert.equal((await readJob(plane, jobId)).state, "completed");
  assert.equal((await revisionsOf(scene)).length, 1);
});

Deno.test("a sealed configuration opens for its lease and digest, its agent and this control plane alone", async (t) => {
  await using scene = await setScene();
  const { first, second, enrolled, lease } = scene;
  const key = enrolled.identity.sealingKey;
  const bytes = encoder.encode(frrConfiguration());
  const digest = await sha256(bytes);
  const name = { leaseId: lease.jti, sha256: digest };
  const elsewhere = crypto.randomUUID() as LeaseId;
  const { sealing } = await openKeyRing(await makeKeys());
  const foreign = { ...sealing.publicJwk, crv: "X25519" as const };
  const good = await sealCapture(key, { ...name, bytes });
  const parts = good.split(".");
  const [first64 = ""] = parts[3] ?? "";
  const other64 = first64 === "A" ? "B" : "A";
  const altered = [...parts.slice(0, 3), `${other64}${parts[3]?.slice(1)}`, parts[4]].join(".");
  const wrong: Record<string, readonly [jwe: string, type: ProblemType]> = {
    "of another lease": [
      await sealCapture(key, { ...name, leaseId: elsewhere, bytes }),
      "validation",
    ],
    "of another digest": [
      await sealCapture(key, { ...name, sha256: await sha256("x"), bytes }),
      "validation",
    ],
    "to another control plane": [await sealCapture(foreign, { ...name, bytes }), "validation"],
    "a result in its place": [
      await sealResult(key, { leaseId: lease.jti, result: "x" }),
      "validation",
    ],
    "altered": [altered, "validation"],
    "cut": [good.slice(0, -20), "validation"],
    "no JWE": ["it is none", "validation"],
    "other bytes": [
      await sealCapture(key, { ...name, bytes: encoder.encode("other") }),
      "malformed",
    ],
  };
  for (const [what, [jwe, type]] of Object.entries(wrong)) {
    await t.step(what, async () => {
      await assert.rejects(putSealed(first, jwe, name), problem(type));
    });
  }
  await t.step("by another agent", async () => {
    await assert.rejects(putSealed(second, good, name), problem("lease-unknown"));
  });
  await t.step("in its place", () => putSealed(first, good, name));
});

Deno.test("a sealed configuration that grows beyond the device's limit is refused, however small it came", async () => {
  await using scene = await setScene();
  const { first, enrolled, lease, deviceId } = scene;
  const admin = await plane.administrator();
  await admin.call(updateDevice, { params: { deviceId }, body: { maxBytes: 65_536 } });
  const bomb = new Uint8Array(20_000_000);
  const name = { leaseId: lease.jti, sha256: await sha256(bomb) };
  const jwe = await sealCapture(enrolled.identity.sealingKey, { ...name, bytes: bomb });
  assert.ok(jwe.length < 20_000, `${jwe.length} characters`);
  await assert.rejects(putSealed(first, jwe, name), problem("too-large"));
});

Deno.test("a superseded result changes no job, and its content is filed under the time it was read at", async () => {
  await using scene = await setScene();
  const { first, second, enrolled, lease: old, deviceId, jobId } = scene;
  const kept = await deliveryOf(first, old, frrConfiguration({ password: "seen-first" }));
  await loseSession(enrolled.identity.agentId);
  const [lease = assert.fail()] = await second.claim();
  const newer = await deliveryOf(second, lease, frrConfiguration({ password: "seen-later" }));
  assert.equal((await replay(second, enrolled, newer)).answer, "accepted");
  const [before, statusBefore] = [await readJob(plane, jobId), await statusOf(scene)];
  await assert.rejects(replay(first, enrolled, kept), problem("lease-superseded"));
  await assert.rejects(replay(first, enrolled, kept), problem("lease-superseded"));
  const { history, ...after } = await readJob(plane, jobId);
  const { history: _, ...unchanged } = before;
  assert.deepEqual(after, unchanged);
  assert.equal(history.filter(({ outcome }) => outcome === "superseded").length, 1);
  assert.deepEqual(await statusOf(scene), statusBefore);
  const [later = assert.fail(), earlier = assert.fail(), ...more] = await revisionsOf(scene);
  assert.deepEqual(more, []);
  assert.equal(earlier.rawSha256, kept.uploads[0]?.sha256);
  assert.ok(Temporal.Instant.compare(earlier.firstSeenAt, later.firstSeenAt) < 0);
  const current = await database.db.selectFrom("currentTexts").select("text")
    .where("deviceId", "=", deviceId).executeTakeFirstOrThrow();
  assert.ok(current.text.includes("interface eth9"));
  assert.equal((await currentDigest(scene)).rawSha256, newer.uploads[0]?.sha256);
});

async function currentDigest({ deviceId }: Pick<Scene, "deviceId">) {
  return await database.db.selectFrom("currentTexts")
    .innerJoin("revisions", "revisions.id", "currentTexts.revisionId").select("rawSha256")
    .where("currentTexts.deviceId", "=", deviceId).executeTakeFirstOrThrow();
}

async function statusOf({ deviceId }: Pick<Scene, "deviceId">) {
  return await database.db.selectFrom("deviceStatus").selectAll()
    .where("deviceId", "=", deviceId).executeTakeFirstOrThrow();
}

Deno.test("a result that comes late counts for the time it was read at", async () => {
  await using scene = await setScene();
  const { first, enrolled, lease, jobId } = scene;
  const kept = await deliveryOf(first, lease, frrConfiguration(), { durationMs: 1_500 });
  await sql`update grants set granted_at = granted_at - interval '3 hours'
    where lease_id = ${lease.jti}`.execute(database.db);
  await loseSession(enrolled.identity.agentId);
  assert.equal((await replay(first, enrolled, kept)).answer, "accepted_late");
  assert.equal((await readJob(plane, jobId)).state, "completed");
  const { grantedAt } = await database.db.selectFrom("grants").select("grantedAt")
    .where("leaseId", "=", lease.jti).executeTakeFirstOrThrow();
  const readAt = grantedAt.add({ milliseconds: 1_500 });
  const { lastVerifiedAt } = await statusOf(scene);
  assert.equal(lastVerifiedAt?.toString(), readAt.toString());
  const [revision] = await revisionsOf(scene);
  assert.equal(revision?.firstSeenAt.toString(), readAt.toString());
});

Deno.test("what was read for a job that was cancelled meanwhile is filed; cancelled it stays", async () => {
  await using scene = await setScene();
  const { first, enrolled, lease, jobId } = scene;
  await first.controlPlane.session({ signal: AbortSignal.timeout(10_000) });
  await sql`update leases set running = true where id = ${lease.jti}`.execute(database.db);
  const admin = await plane.administrator();
  await admin.call(cancelJob, { params: { jobId } });
  const kept = await deliveryOf(first, lease, frrConfiguration());
  assert.equal((await replay(first, enrolled, kept)).answer, "accepted");
  assert.equal((await readJob(plane, jobId)).state, "cancelled");
  assert.equal((await revisionsOf(scene)).length, 1);
  assert.equal((await statusOf(scene)).lastAttemptAt, null);
});

Deno.test("a result of another life of the installation is content and nothing else, once", async () => {
  await using scene = await setScene();
  const { first, enrolled, lease, jobId } = scene;
  const claims = { incarnation: lease.incarnation + 1 };
  const kept = await deliveryOf(first, lease as LeaseClaims, frrConfiguration(), claims);
  for (const _ of [1, 2]) {
    await assert.rejects(replay(first, enrolled, kept), problem("lease-superseded"));
  }
  assert.equal((await readJob(plane, jobId)).state, "leased");
  assert.equal((await revisionsOf(scene)).length, 1);
  assert.equal(await countBackups(scene), 1);
});
