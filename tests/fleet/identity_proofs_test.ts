/** Replayed and reordered requests, against two replicas on one database. */
import assert from "node:assert/strict";
import { decodeJwt } from "jose";
import { sql } from "kysely";
import {
  claimLeases,
  drainAgent,
  releaseLeaseOfAgent,
  reportResult,
  rotateAgentKeys,
  sendHeartbeat,
} from "@rookery/shared/api/agent_protocol.ts";
import { getAgent } from "@rookery/shared/api/agents.ts";
import type { AgentId, ClaimId } from "@rookery/shared/ids.ts";
import { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import { makeProof } from "../../agent/dpop.ts";
import { forgetOldProofs } from "../../control-plane/agents/used_proofs.ts";
import { createApp } from "../../control-plane/app.ts";
import type { App } from "../../control-plane/http/app_type.ts";
import { type Services, startServices } from "../../control-plane/services.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  type EnrolledAgent,
  makeSite,
  type ManualBoot,
  readJob,
  signResult,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makeKeys, proofKeyOf, rotationBody } from "../support/rotation.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const { signal } = new AbortController();

let replica: { readonly app: App; readonly services: Services & AsyncDisposable } | undefined;
Deno.test.beforeAll(async () => {
  const { keyRing, publicUrl, trustedProxies } = plane.services;
  const config = { publicUrl, trustedProxies };
  const services = await startServices({ database, keyRing, config, log: () => {} });
  replica = { app: createApp(services), services };
});
Deno.test.afterAll(async () => await replica?.services[Symbol.asyncDispose]());

/** Both replicas; which one hears a request is up to the balancer before them. */
function replicas(): readonly App[] {
  return [plane.app, replica?.app ?? assert.fail()];
}

/** Sends a request that was captured, as it was, to a replica. */
async function replay(request: Request, app: App): Promise<{ status: number; body: unknown }> {
  const response = await app.fetch(request.clone(), { remoteAddress: "192.0.2.66" });
  const text = await response.text();
  return { status: response.status, body: text === "" ? undefined : JSON.parse(text) };
}

/** An agent with a boot whose requests go to the replicas in turn, and are all kept. */
async function setScene() {
  const siteId = await makeSite(plane);
  const agent = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, agent);
  const kept: Request[] = [];
  let turn = 0;
  boot.wire.carrier = async (request) => {
    kept.push(request.clone());
    const app = replicas()[turn++ % 2] ?? plane.app;
    return await app.fetch(request, { remoteAddress: "192.0.2.20" });
  };
  await boot.controlPlane.session({ signal });
  return { siteId, agent, boot, kept, agentId: agent.identity.agentId };
}

async function order(siteId: Parameters<typeof addDevice>[1]) {
  return await backUpNow(plane, [await addDevice(plane, siteId)]);
}

async function statusOf(agentId: AgentId) {
  const admin = await plane.administrator();
  return (await admin.call(getAgent, { params: { agentId } })).status;
}

function lastSent(kept: readonly Request[]): Request {
  return kept.at(-1) ?? assert.fail("nothing was sent");
}

function beat(boot: ManualBoot) {
  return boot.call(sendHeartbeat, { body: { bootId: boot.bootId, leaseIds: [] } });
}

Deno.test("a nonce of one replica is good at the other", async () => {
  const { agent, boot, kept } = await setScene();
  await using _ = agent;
  const before = kept.length;
  for (let n = 0; n < 4; n++) await beat(boot);
  assert.equal(kept.length, before + 4, "a request had to be sent twice for its nonce");
});

Deno.test("a proof opens one session in the whole installation, sent to both replicas at once or after", async () => {
  const { agent, boot, kept, agentId } = await setScene();
  await using _ = agent;
  const used = lastSent(kept);
  for (const app of replicas()) {
    const { status, body } = await replay(used, app);
    assert.deepEqual([status, /used before/.test(JSON.stringify(body))], [401, true]);
  }
  // One that nobody has used yet: the answer to the next opening is lost before it is sent.
  const { promise: caught, resolve } = Promise.withResolvers<Request>();
  boot.wire.carrier = (request) => {
    resolve(request.clone());
    return Promise.reject(new TypeError("the connection broke"));
  };
  await boot.controlPlane.useKey(await proofKeyOf(agent.identity));
  await assert.rejects(boot.controlPlane.session({ signal }), TypeError);
  const request = await withNonce(await caught, agent);
  const ends = await Promise.all(
    [0, 1, 0, 1, 0, 1].map((which) => replay(request, replicas()[which] ?? plane.app)),
  );
  assert.deepEqual(ends.map(({ status }) => status).sort(), [200, 401, 401, 401, 401, 401]);
  assert.equal(await statusOf(agentId), "active");
});

/** The same request with a proof for the newest nonce. */
async function withNonce(
  request: Request,
  agent: EnrolledAgent,
): Promise<Request> {
  const proof = await makeProof(await proofKeyOf(agent.identity), {
    method: request.method,
    url: request.url,
    nonce: await plane.services.nonces.current(),
  });
  request.headers.set("dpop", proof);
  return request;
}

Deno.test("a replayed claim gets the same leases again, a replayed result the same answer", async () => {
  const { siteId, agent, boot, kept } = await setScene();
  await using _ = agent;
  const [jobId = assert.fail()] = await order(siteId);
  const claimId = crypto.randomUUID() as ClaimId;
  const body = { claimId, bootId: boot.bootId, wanted: 1, waitSeconds: 0 };
  await boot.call(claimLeases, { body });
  const claim = lastSent(kept);
  for (const app of replicas()) {
    const { status, body } = await replay(claim, app);
    assert.deepEqual([status, (body as { leases: unknown[] }).leases.length], [200, 1]);
  }
  const [lease = assert.fail()] = await boot.claim({ wanted: 1 }).then(async (none) => {
    assert.deepEqual(none, []);
    const again = await replay(claim, plane.app);
    return (again.body as { leases: { lease: string }[] }).leases
      .map(({ lease }) => LeaseClaims.parse(decodeJwt(lease)));
  });
  const result = await signResult(boot, lease, { status: "cancelled" });
  await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
  const report = lastSent(kept);
  for (const app of replicas()) {
    const { status, body } = await replay(report, app);
    assert.deepEqual([status, body], [200, { answer: "accepted", duplicate: true }]);
  }
  assert.deepEqual((await readJob(plane, jobId)).history.length, 1);
  const { leases } = (await replay(claim, plane.app)).body as { leases: unknown[] };
  assert.deepEqual(leases, [], "a job that is done came back by an old claim");
});

Deno.test("replayed heartbeats, releases, drains and rotations change nothing more", async () => {
  const { siteId, agent, boot, kept } = await setScene();
  await using _ = agent;
  const [jobId = assert.fail()] = await order(siteId);
  const [lease = assert.fail()] = await boot.claim({ wanted: 1 });
  await boot.call(releaseLeaseOfAgent, { params: { leaseId: lease.jti } });
  const release = lastSent(kept);
  const [again = assert.fail()] = await boot.claim({ wanted: 1 });
  assert.equal(again.epoch, lease.epoch + 1);
  await boot.call(sendHeartbeat, { body: { bootId: boot.bootId, leaseIds: [again.jti] } });
  const heartbeat = lastSent(kept);
  await boot.call(rotateAgentKeys, { body: await rotationBody(agent.identity, await makeKeys()) });
  const rotation = lastSent(kept);
  await boot.call(drainAgent, { body: { bootId: boot.bootId } });
  const drain = lastSent(kept);
  // Also in the wrong order.
  for (const app of replicas()) {
    const ends = [];
    for (const request of [drain, rotation, heartbeat, release]) {
      ends.push((await replay(request, app)).status);
    }
    assert.deepEqual(ends, [204, 200, 200, 404]);
  }
  const job = await readJob(plane, jobId);
  assert.deepEqual([job.state, job.history.length], ["leased", 1]);
  const { rows } = await sql`select 1 from agent_keys
    where agent_id = ${agent.identity.agentId} and state = 'next'`.execute(database.db);
  assert.equal(rows.length, 1);
});

Deno.test("a request of a boot that is delivered after the next boot's first one takes nothing from it", async () => {
  const { agent, boot, kept, agentId } = await setScene();
  await using _ = agent;
  await beat(boot);
  const late = lastSent(kept);
  const next = await bootByHand(plane, agent);
  await next.controlPlane.session({ signal });
  for (const app of replicas()) assert.equal((await replay(late, app)).status, 401);
  await beat(next);
  assert.equal(await statusOf(agentId), "active");
  const { rows } = await sql<{ bootId: string }>`select boot_id from agent_sessions
    where agent_id = ${agentId}`.execute(database.db);
  assert.deepEqual(rows, [{ bootId: next.bootId }]);
});

Deno.test("a proof is for one method, one address and one token, at either replica", async () => {
  const { agent, boot, kept } = await setScene();
  await using _ = agent;
  await beat(boot);
  const sound = lastSent(kept);
  const body = await sound.clone().text();
  const moved = (path: string, headers: Record<string, string> = {}) =>
    new Request(new URL(path, sound.url), {
      method: "POST",
      headers: { ...Object.fromEntries(sound.headers), ...headers },
      body,
    });
  const authorization = (kept[0] ?? assert.fail()).headers.get("authorization") ?? "DPoP x.y.z";
  for (const app of replicas()) {
    assert.equal((await replay(moved("/agent/v1/drain"), app)).status, 401);
    assert.equal((await replay(moved("/agent/v1/heartbeat", { authorization }), app)).status, 401);
  }
});

Deno.test("old proofs are forgotten, younger ones are not", async () => {
  await sql`insert into used_proofs (thumbprint, jti, used_at) values
    ('t', 'old', clock_timestamp() - interval '21 minutes'),
    ('t', 'young', clock_timestamp() - interval '11 minutes')`.execute(database.db);
  await forgetOldProofs(database.db);
  const { rows } = await sql`select jti from used_proofs where thumbprint = 't'`
    .execute(database.db);
  assert.deepEqual(rows, [{ jti: "young" }]);
});
