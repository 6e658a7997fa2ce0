import assert from "node:assert/strict";
import { sql } from "kysely";
import {
  hasBlob,
  putBlob,
  releaseLeaseOfAgent,
  reportResult,
  sendHeartbeat,
} from "@rookery/shared/api/agent_protocol.ts";
import { revokeAgent } from "@rookery/shared/api/agents.ts";
import { listRevisions } from "@rookery/shared/api/backups.ts";
import { updateDevice } from "@rookery/shared/api/devices.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { AgentId, DeviceId } from "@rookery/shared/ids.ts";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import type { AttemptReport } from "@rookery/shared/jobs/result.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { reapLeases } from "../../control-plane/jobs/reap.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  makeSite,
  type ManualBoot,
  readJob,
  signResult,
} from "../support/agent_bench.ts";
import { frrConfiguration, outcomeOf } from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const encoder = new TextEncoder();

function problem(type: ProblemType) {
  return (error: unknown) => error instanceof ProblemError && error.type === type;
}

/** Two agents of one site with so many devices, each with a job. */
async function setScene({ devices = 1 } = {}) {
  const siteId = await makeSite(plane);
  const deviceIds: DeviceId[] = [];
  for (let n = 0; n < devices; n++) deviceIds.push(await addDevice(plane, siteId));
  const enrolled = [await enrolAgent(plane, [siteId]), await enrolAgent(plane, [siteId])] as const;
  const [first, second] = [
    await bootByHand(plane, enrolled[0]),
    await bootByHand(plane, enrolled[1]),
  ];
  const jobIds = await backUpNow(plane, deviceIds);
  return {
    siteId,
    deviceIds,
    jobIds,
    first,
    second,
    agentId: enrolled[0].identity.agentId,
    async [Symbol.asyncDispose]() {
      for (const agent of enrolled) await agent[Symbol.asyncDispose]();
    },
  };
}

/** Uploads a configuration under a lease and gives the report of it. */
async function upload(
  boot: ManualBoot,
  lease: LeaseClaims,
  text: string,
): Promise<AttemptReport> {
  const body = encoder.encode(text);
  const params = { leaseId: lease.jti, sha256: await sha256(body) };
  await boot.call(putBlob, { params, body });
  return { status: "completed", outcome: { ...await outcomeOf(body), facts: {} } };
}

async function tell(boot: ManualBoot, lease: LeaseClaims, result: string) {
  return await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
}

async function countRevisions(deviceId: DeviceId): Promise<number> {
  const admin = await plane.administrator();
  const { items } = await admin.call(listRevisions, { params: { deviceId }, query: {} });
  return items.length;
}

/** The session of an agent ends unheard, and its jobs are due again at once. */
async function loseSession(agentId: AgentId): Promise<void> {
  await sql`update agent_sessions set expires_at = clock_timestamp() - interval '1 second'
    where agent_id = ${agentId}`.execute(database.db);
  await reapLeases(database.db);
  await sql`update ready set due_at = now(), rank = now() where late_agent_id = ${agentId}`
    .execute(database.db);
}

Deno.test("reportResult stores what one agent read, and says the same again to the same envelope", async () => {
  await using scene = await setScene();
  const { first, deviceIds: [deviceId = assert.fail()], jobIds: [jobId = assert.fail()] } = scene;
  const [lease = assert.fail()] = await first.claim();
  const result = await signResult(first, lease, await upload(first, lease, frrConfiguration()));
  assert.deepEqual(await tell(first, lease, result), { answer: "accepted", duplicate: false });
  assert.deepEqual(await tell(first, lease, result), { answer: "accepted", duplicate: true });
  assert.equal((await readJob(plane, jobId)).state, "completed");
  assert.equal(await countRevisions(deviceId), 1);
});

Deno.test("a late result of an old epoch changes nothing; its content is filed", async () => {
  await using scene = await setScene();
  const { first, second, deviceIds: [deviceId = assert.fail()] } = scene;
  const [jobId = assert.fail()] = scene.jobIds;
  const [old = assert.fail()] = await first.claim();
  const late = await upload(first, old, frrConfiguration({ password: "seen-by-the-first" }));
  await loseSession(scene.agentId);
  const [lease = assert.fail()] = await second.claim();
  assert.deepEqual([lease.sub, lease.epoch], [old.sub, old.epoch + 1]);
  const before = await readJob(plane, jobId);
  await assert.rejects(
    tell(first, old, await signResult(first, old, late)),
    problem("lease-superseded"),
  );
  const { history: _, ...after } = await readJob(plane, jobId);
  const { history: __, ...unchanged } = before;
  assert.deepEqual(after, unchanged);
  const report = await upload(second, lease, frrConfiguration());
  const answer = await tell(second, lease, await signResult(second, lease, report));
  assert.deepEqual(answer, { answer: "accepted", duplicate: false });
  const done = await readJob(plane, jobId);
  assert.equal(done.state, "completed");
  assert.deepEqual(done.history.map(({ epoch, outcome }) => [epoch, outcome]), [
    [1, "lost"],
    [1, "superseded"],
    [2, "completed"],
  ]);
  assert.equal(await countRevisions(deviceId), 2);
});

Deno.test("a late result of the last holder is accepted while nobody holds a newer lease", async () => {
  await using scene = await setScene();
  const { first, jobIds: [jobId = assert.fail()] } = scene;
  const [lease = assert.fail()] = await first.claim();
  const report = await upload(first, lease, frrConfiguration());
  await loseSession(scene.agentId);
  const { answer } = await tell(first, lease, await signResult(first, lease, report));
  assert.equal(answer, "accepted_late");
  assert.equal((await readJob(plane, jobId)).state, "completed");
});

Deno.test("a result of a lease with any claim of another one is refused and changes nothing", async (t) => {
  await using scene = await setScene();
  const { first, second, jobIds: [jobId = assert.fail()] } = scene;
  const [lease = assert.fail()] = await first.claim();
  const report: AttemptReport = { status: "cancelled" };
  const wrong = {
    iss: second.bootId,
    aud: "urn:uuid:someone-else",
    sub: crypto.randomUUID(),
    jti: crypto.randomUUID(),
    siteId: crypto.randomUUID(),
    epoch: lease.epoch + 1,
    bootId: second.bootId,
    report: { status: "marvellous" },
  };
  for (const [claim, value] of Object.entries(wrong)) {
    await t.step(claim, async () => {
      const result = await signResult(first, lease, report, { [claim]: value });
      await assert.rejects(tell(first, lease, result), problem("validation"));
    });
  }
  await t.step("another agent's signature", async () => {
    const forged = await signResult(second, lease, report);
    await assert.rejects(tell(first, lease, forged), problem("validation"));
  });
  await t.step("another incarnation", async () => {
    const result = await signResult(first, lease, report, { incarnation: lease.incarnation + 1 });
    await assert.rejects(tell(first, lease, result), problem("lease-superseded"));
  });
  assert.equal((await readJob(plane, jobId)).state, "leased");
});

Deno.test("a result may not name a digest of another device, and nobody learns that it exists", async () => {
  await using scene = await setScene({ devices: 2 });
  const { first, deviceIds: [mine = assert.fail(), other = assert.fail()] } = scene;
  const leases = await first.claim();
  const ofOther = leases.find(({ device }) => device.id === other) ?? assert.fail();
  const ofMine = leases.find(({ device }) => device.id === mine) ?? assert.fail();
  const report = await upload(first, ofOther, frrConfiguration());
  await tell(first, ofOther, await signResult(first, ofOther, report));
  const digest = await sha256(encoder.encode(frrConfiguration()));
  const params = { leaseId: ofMine.jti, sha256: digest };
  await assert.rejects(first.call(hasBlob, { params }), problem("not-found"));
  const answer = await tell(first, ofMine, await signResult(first, ofMine, report));
  assert.equal(answer.answer, "accepted");
  const job = await readJob(plane, ofMine.sub);
  assert.deepEqual([job.failureCode, await countRevisions(mine)], ["blob_missing", 0]);
  assert.equal(await countRevisions(other), 1);
});

Deno.test("nobody but its agent may speak under a lease, which for others does not exist", async () => {
  await using scene = await setScene();
  const { first, second, jobIds: [jobId = assert.fail()] } = scene;
  const [lease = assert.fail()] = await first.claim();
  const params = { leaseId: lease.jti };
  const body = encoder.encode("x");
  const blob = { ...params, sha256: await sha256(body) };
  const unknown = problem("lease-unknown");
  const result = await signResult(second, lease, { status: "cancelled" });
  await assert.rejects(second.call(hasBlob, { params: blob }), unknown);
  await assert.rejects(second.call(putBlob, { params: blob, body }), unknown);
  await assert.rejects(tell(second, lease, result), unknown);
  await assert.rejects(second.call(releaseLeaseOfAgent, { params }), unknown);
  const beat = { bootId: second.bootId, leaseIds: [lease.jti] };
  assert.deepEqual((await second.call(sendHeartbeat, { body: beat })).unknown, [lease.jti]);
  assert.equal((await readJob(plane, jobId)).state, "leased");
});

Deno.test("putBlob refuses more than the device's limit, and other bytes than were announced", async () => {
  await using scene = await setScene();
  const { first, deviceIds: [deviceId = assert.fail()] } = scene;
  const admin = await plane.administrator();
  await admin.call(updateDevice, { params: { deviceId }, body: { maxBytes: 65_536 } });
  const [lease = assert.fail()] = await first.claim();
  const large = new Uint8Array(65_537);
  const params = { leaseId: lease.jti, sha256: await sha256(large) };
  await assert.rejects(first.call(putBlob, { params, body: large }), problem("too-large"));
  const other = encoder.encode("other bytes");
  await assert.rejects(first.call(putBlob, { params, body: other }), problem("malformed"));
  const { rows } = await sql`select 1 from uploads where lease_id = ${lease.jti}`
    .execute(database.db);
  assert.deepEqual(rows, []);
});

Deno.test("revokeAgent() beats what is in flight: its job goes to others, its result nowhere", async () => {
  await using scene = await setScene();
  const { first, second, agentId, deviceIds: [deviceId = assert.fail()] } = scene;
  const [lease = assert.fail()] = await first.claim();
  const result = await signResult(first, lease, await upload(first, lease, frrConfiguration()));
  const admin = await plane.administrator();
  await admin.call(revokeAgent, { params: { agentId } });
  const revoked = problem("agent-revoked");
  const beat = { bootId: first.bootId, leaseIds: [lease.jti] };
  await assert.rejects(first.claim(), revoked);
  await assert.rejects(tell(first, lease, result), revoked);
  await assert.rejects(first.call(sendHeartbeat, { body: beat }), revoked);
  assert.equal(await countRevisions(deviceId), 0);
  const [again = assert.fail()] = await second.claim();
  assert.deepEqual([again.sub, again.epoch], [lease.sub, lease.epoch + 1]);
});

Deno.test("a replayed session request is refused, and no boot leaps ahead for ever", async () => {
  const siteId = await makeSite(plane);
  await using enrolled = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, enrolled);
  const captured: Request[] = [];
  boot.wire.carrier = (request, pass) => {
    captured.push(request.clone());
    return pass(request);
  };
  const { signal } = new AbortController();
  await boot.controlPlane.session({ signal });
  const opened = captured.at(-1) ?? assert.fail();
  const body = { ...await opened.clone().json(), bootId: crypto.randomUUID() };
  const replayed = await plane.fetch(
    new Request(opened.url, {
      method: "POST",
      headers: opened.headers,
      body: JSON.stringify(body),
    }),
  );
  assert.equal(replayed.status, 401);
  assert.match((await replayed.json()).detail, /used before/);
  const { rows } = await sql<{ bootId: string }>`
    select boot_id from agent_sessions where agent_id = ${enrolled.identity.agentId}`
    .execute(database.db);
  assert.deepEqual(rows, [{ bootId: boot.bootId }]);
  await Deno.writeTextFile(`${enrolled.state.path}/sequence.json`, '{"sequence": 2000000}');
  const leaping = await bootByHand(plane, enrolled);
  await assert.rejects(leaping.controlPlane.session({ signal }), problem("validation"));
});

Deno.test("a job that cannot be prepared says why and holds up no other", async () => {
  await using scene = await setScene({ devices: 3 });
  const { first, deviceIds: [bare = assert.fail(), damaged = assert.fail()] } = scene;
  const admin = await plane.administrator();
  await admin.call(updateDevice, { params: { deviceId: bare }, body: { credentialId: null } });
  await sql`
    update credential_versions set ciphertext = set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1)
    where credential_id = (select credential_id from devices where id = ${damaged})`
    .execute(database.db);
  const leases = await first.claim();
  assert.deepEqual(leases.map(({ device }) => device.id), scene.deviceIds.slice(2));
  const [ofBare, ofDamaged] = await Promise.all(
    scene.jobIds.slice(0, 2).map((jobId) => readJob(plane, jobId)),
  );
  assert.deepEqual([ofBare?.state, ofBare?.failureCode], ["failed", "credential_missing"]);
  assert.deepEqual([ofDamaged?.state, ofDamaged?.failureCode], [
    "scheduled",
    "control_plane_fault",
  ]);
  assert.equal(ofDamaged?.attempts, 1);
  assert.ok(plane.log.some(({ message }) => message === "A granted job could not be prepared"));
});
