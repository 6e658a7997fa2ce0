/** Joining that waits for a person, and a new key for an agent that exists. */
import assert from "node:assert/strict";
import { sql } from "kysely";
import { reportResult, sendHeartbeat } from "@rookery/shared/api/agent_protocol.ts";
import { approveAgent, rejectAgent } from "@rookery/shared/api/agent_identity.ts";
import { createJoinToken, getAgent, revokeAgent } from "@rookery/shared/api/agents.ts";
import { getJob } from "@rookery/shared/api/jobs.ts";
import type { CallInput } from "@rookery/shared/endpoint.ts";
import type { AgentId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { type Clock, systemClock } from "../../agent/clock.ts";
import { enroll, fingerprintOf } from "../../agent/enroll.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  type EnrolledAgent,
  freshName,
  makeSite,
  makeStateFolder,
  type ManualBoot,
  signResult,
  startAgent,
  until,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { enrolAs, joinWith, makeKey, refusedAs } from "../support/joining.ts";
import { Wire } from "../support/wire.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const { signal } = new AbortController();
const PATIENCE_MS = 60_000;

/** Agents whose minutes are seconds. */
const clock: Clock = {
  now: () => performance.now() * 20,
  sleep: (ms, options) => systemClock.sleep(ms / 20, options),
};

async function makeToken(body: CallInput<typeof createJoinToken>["body"]): Promise<string> {
  const admin = await plane.administrator();
  return (await admin.call(createJoinToken, { body })).joinToken;
}

/** An agent that waits for approval, and the fingerprint that it printed. */
async function enrolPending() {
  const siteIds = [await makeSite(plane)];
  const joinToken = await makeToken({
    agentName: freshName("agent"),
    siteIds,
    requireApproval: true,
  });
  const folder = await makeStateFolder();
  let fingerprint = "";
  const identity = await enroll({ controlPlaneUrl: plane.publicUrl, joinToken }, {
    state: folder.state,
    send: new Wire(plane).send,
    signal,
    onPending: (printed) => fingerprint = printed,
  });
  const agent: EnrolledAgent = { ...folder, identity };
  return { agent, agentId: identity.agentId, fingerprint, joinToken };
}

async function agentOf(agentId: AgentId) {
  const admin = await plane.administrator();
  return await admin.call(getAgent, { params: { agentId } });
}

function beat(boot: ManualBoot) {
  return boot.call(sendHeartbeat, { body: { bootId: boot.bootId, leaseIds: [] } });
}

function refusedField(pointer: string) {
  return (error: unknown) =>
    error instanceof ProblemError && error.type === "validation" &&
    error.errors[0]?.pointer === pointer;
}

Deno.test("a pending agent waits, can do nothing, and goes on by itself when its fingerprint is approved", async () => {
  const { agent, agentId, fingerprint } = await enrolPending();
  await using _ = agent;
  assert.equal(fingerprint, await fingerprintOf(agent.identity));
  const admin = await plane.administrator();
  const before = await agentOf(agentId);
  assert.deepEqual([before.status, before.thumbprint], ["pending", fingerprint]);
  await using running = await startAgent(plane, agent, { clock });
  await until(() => running.logged("agent_waits"), "it waits", PATIENCE_MS);
  assert.ok(!running.logged("agent_started"));
  const params = { agentId };
  await assert.rejects(
    admin.call(approveAgent, { params, body: { fingerprint: "A".repeat(43) } }),
    refusedField("#/fingerprint"),
  );
  assert.equal((await agentOf(agentId)).status, "pending");
  await admin.call(approveAgent, { params, body: { fingerprint } });
  await until(() => running.logged("agent_started"), "it has started", PATIENCE_MS);
  await assert.rejects(
    admin.call(approveAgent, { params, body: { fingerprint } }),
    refusedAs("conflict"),
  );
  await assert.rejects(admin.call(rejectAgent, { params }), refusedAs("conflict"));
});

Deno.test("a rejected agent is revoked, and its name is free again", async () => {
  const { agent, agentId } = await enrolPending();
  await using _ = agent;
  const boot = await bootByHand(plane, agent);
  await assert.rejects(beat(boot), refusedAs("agent-pending"));
  const admin = await plane.administrator();
  const { status, name, siteIds } = await admin.call(rejectAgent, { params: { agentId } });
  assert.equal(status, "revoked");
  await assert.rejects(beat(boot), refusedAs("agent-revoked"));
  assert.ok(await makeToken({ agentName: name, siteIds }));
});

Deno.test("a pending agent whose enrolment reply was lost is the same pending agent", async () => {
  const siteIds = [await makeSite(plane)];
  const joinToken = await makeToken({
    agentName: freshName("agent"),
    siteIds,
    requireApproval: true,
  });
  const key = await makeKey();
  const [first, second] = [
    await enrolAs(plane, joinToken, { prover: key }),
    await enrolAs(plane, joinToken, { prover: key }),
  ];
  assert.deepEqual([second.agentId, first.status, second.status], [
    first.agentId,
    "pending",
    "pending",
  ]);
});

Deno.test("a join token lives an hour, or a week when its agent is approved by hand", async () => {
  const siteIds = [await makeSite(plane)];
  const named = () => ({ agentName: freshName("agent"), siteIds });
  const week = { expiresInSeconds: 7 * 86_400 };
  await assert.rejects(makeToken({ ...named(), ...week }), refusedField("#/expiresInSeconds"));
  assert.ok(await makeToken({ ...named(), ...week, requireApproval: true }));
  await assert.rejects(
    makeToken({ ...named(), expiresInSeconds: 7 * 86_400 + 1, requireApproval: true }),
    refusedField("#/expiresInSeconds"),
  );
  await assert.rejects(makeToken({ siteIds }), refusedField("#/agentName"));
  await assert.rejects(makeToken({ agentName: freshName("agent") }), refusedField("#/siteIds"));
});

Deno.test("re-enrolment keeps id, name, sites and history; the old key is dead at once", async () => {
  const siteId = await makeSite(plane);
  await using old = await enrolAgent(plane, [siteId]);
  const { agentId, name } = old.identity;
  const [done = assert.fail()] = await backUpNow(plane, [await addDevice(plane, siteId)]);
  const boot = await bootByHand(plane, old);
  const [lease = assert.fail()] = await boot.claim();
  const result = await signResult(boot, lease, { status: "cancelled" });
  await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
  const [held = assert.fail()] = await backUpNow(plane, [await addDevice(plane, siteId)]);
  await boot.claim();

  const joinToken = await makeToken({ agentId });
  await beat(boot);
  await using folder = await makeStateFolder();
  const identity = await joinWith(plane, joinToken, { state: folder.state });
  assert.deepEqual([identity.agentId, identity.name, identity.siteIds], [agentId, name, [siteId]]);
  await assert.rejects(beat(boot), refusedAs("agent-revoked"));
  const admin = await plane.administrator();
  const job = await admin.call(getJob, { params: { jobId: held } });
  assert.deepEqual([job.state, job.hold], ["available", "no_agent"]);
  const renewed = await bootByHand(plane, { ...folder, identity });
  const [again = assert.fail()] = await renewed.claim();
  assert.deepEqual([again.sub, again.aud], [held, agentId]);
  assert.equal((await admin.call(getJob, { params: { jobId: done } })).history.length, 1);
  const { status, thumbprint } = await agentOf(agentId);
  assert.deepEqual([status, thumbprint], ["active", await fingerprintOf(identity)]);
  await assert.rejects(beat(boot), refusedAs("agent-revoked"), "the old key locks nobody either");
  assert.equal((await agentOf(agentId)).status, "active");
});

Deno.test("a revoked agent comes back by a re-enrolment, once and for one key", async () => {
  await using old = await enrolAgent(plane, [await makeSite(plane)]);
  const { agentId } = old.identity;
  const admin = await plane.administrator();
  await admin.call(revokeAgent, { params: { agentId } });
  const joinToken = await makeToken({ agentId, requireApproval: true });
  const [key, other] = [await makeKey(), await makeKey()];
  const [first, second] = [
    await enrolAs(plane, joinToken, { prover: key }),
    await enrolAs(plane, joinToken, { prover: key }),
  ];
  assert.deepEqual([first.agentId, second.agentId, first.status], [agentId, agentId, "pending"]);
  await assert.rejects(
    enrolAs(plane, joinToken, { prover: other }),
    refusedAs("join-token-invalid"),
  );
  const { status, revokedAt } = await agentOf(agentId);
  assert.deepEqual([status, revokedAt], ["pending", null]);
  const { rows } = await sql<{ detail: { oldStatus: string } }>`
    select detail from audit_rows where action = 'agent.reenrol' and target_id = ${agentId}`
    .execute(database.db);
  assert.deepEqual(rows.map(({ detail }) => detail.oldStatus), ["revoked"]);
});

Deno.test("a token for an agent that exists names no other name or sites, and no agent that is none", async () => {
  const siteIds = [await makeSite(plane)];
  await using agent = await enrolAgent(plane, siteIds);
  const { agentId } = agent.identity;
  await assert.rejects(makeToken({ agentId, agentName: "another" }), refusedField("#/agentName"));
  await assert.rejects(makeToken({ agentId, siteIds }), refusedField("#/siteIds"));
  await assert.rejects(
    makeToken({ agentId: crypto.randomUUID() as AgentId }),
    refusedField("#/agentId"),
  );
});

Deno.test("two new keys at once for one agent: the later one has it, the other is dead, nothing is left over", async () => {
  await using agent = await enrolAgent(plane, [await makeSite(plane)]);
  const { agentId } = agent.identity;
  const tokens = [await makeToken({ agentId }), await makeToken({ agentId })];
  const keys = [await makeKey(), await makeKey()];
  const ends = await Promise.all(
    tokens.map((token, n) => enrolAs(plane, token, { prover: keys[n] ?? assert.fail() })),
  );
  assert.deepEqual(ends.map((end) => end.agentId), [agentId, agentId]);
  const { rows } = await sql<{ state: string }>`
    select state from agent_keys where agent_id = ${agentId} order by state`.execute(database.db);
  assert.deepEqual(rows.map(({ state }) => state), ["current", "dead", "dead"]);
});
