/** Two copies of one agent: what is honest, what locks, and the way back without a visit. */
import assert from "node:assert/strict";
import { sql } from "kysely";
import { claimLeases, reportResult, sendHeartbeat } from "@rookery/shared/api/agent_protocol.ts";
import { listAgentBoots, retrustAgent } from "@rookery/shared/api/agent_identity.ts";
import { getAgent } from "@rookery/shared/api/agents.ts";
import type { AgentId, BootId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
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
import { refusedAs } from "../support/joining.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const { signal } = new AbortController();

async function enrolled(): Promise<EnrolledAgent> {
  return await enrolAgent(plane, [await makeSite(plane)]);
}

/** A boot by hand whose stored counter said `stored` before it started. */
async function bootAfter(agent: EnrolledAgent, stored: number): Promise<ManualBoot> {
  await Deno.writeTextFile(
    `${agent.state.path}/sequence.json`,
    JSON.stringify({ sequence: stored }),
  );
  return await bootByHand(plane, agent);
}

function open(boot: ManualBoot) {
  return boot.controlPlane.session({ signal });
}

function beat(boot: ManualBoot) {
  return boot.call(sendHeartbeat, { body: { bootId: boot.bootId, leaseIds: [] } });
}

/** Longer ago than any last word of a dead process is on its way. */
async function letTimePass(agentId: AgentId, minutes = 1): Promise<void> {
  await sql`update agent_boots set replaced_at = replaced_at - make_interval(mins => ${minutes})
    where agent_id = ${agentId}`.execute(database.db);
}

/** The replacement was a moment ago, however long this machine takes. */
async function stopTime(agentId: AgentId): Promise<void> {
  await letTimePass(agentId, -10);
}

async function statusOf(agentId: AgentId) {
  const admin = await plane.administrator();
  return (await admin.call(getAgent, { params: { agentId } })).status;
}

async function boots(agentId: AgentId) {
  const admin = await plane.administrator();
  const { items } = await admin.call(listAgentBoots, { params: { agentId } });
  return new Map(items.map((boot) => [boot.bootId, boot]));
}

async function retrust(agentId: AgentId, bootId: BootId) {
  const admin = await plane.administrator();
  return await admin.call(retrustAgent, { params: { agentId }, body: { bootId } });
}

async function audited(action: string, agentId: AgentId) {
  const { rows } = await sql<{ detail: { reason: string; boots: Record<string, unknown>[] } }>`
    select detail from audit_rows where action = ${action} and target_id = ${agentId}`
    .execute(database.db);
  return rows.map((row) => row.detail);
}

/** Two boots of one agent, of which the first was replaced and is still there. */
async function setFork() {
  const agent = await enrolled();
  const [first, second] = [await bootAfter(agent, 3), await bootAfter(agent, 4)];
  await open(first);
  await open(second);
  await letTimePass(agent.identity.agentId);
  return { agent, agentId: agent.identity.agentId, first, second };
}

Deno.test("sequence n and n-1 are honest: a lost reply, a power cut, a restored snapshot", async (t) => {
  const stories = {
    "the same boot asks again after a lost reply": [[4, "same"]],
    "the next boot after a power cut that skipped numbers": [[7, "new"], [9, "new"]],
    "a snapshot whose next boot has the same number": [[4, "new"]],
    "a snapshot from one boot before": [[3, "new"]],
    "a snapshot from before, then the next one": [[3, "new"], [4, "new"]],
  } as const;
  for (const [story, steps] of Object.entries(stories)) {
    await t.step(story, async () => {
      await using agent = await enrolled();
      const { agentId } = agent.identity;
      let boot = await bootAfter(agent, 4);
      await open(boot);
      for (const [stored, which] of steps) {
        await letTimePass(agentId);
        if (which === "new") boot = await bootAfter(agent, stored);
        await boot.controlPlane.useKey(await keyOf(boot, agent));
        await open(boot);
        await beat(boot);
      }
      assert.equal(await statusOf(agentId), "active");
      assert.deepEqual(await audited("agent.lock", agentId), []);
    });
  }
});

/** The same key anew: the next call opens the session again, as after a reply that was lost. */
function keyOf(
  { signKey }: ManualBoot,
  { identity: { signKey: { d: _, ...publicJwk } } }: EnrolledAgent,
) {
  return { privateKey: signKey, publicJwk };
}

Deno.test("a boot that was replaced and comes back locks the agent, and the audit row names both", async () => {
  const { agent, agentId, first, second } = await setFork();
  await using _ = agent;
  // Not yet by a call under its old token, whose proof anybody could have kept: by opening its session again.
  await assert.rejects(beat(first), (error: unknown) => {
    assert.ok(error instanceof ProblemError && error.type === "agent-locked", String(error));
    assert.ok(error.message.includes(first.bootId));
    return true;
  });
  assert.equal(await statusOf(agentId), "locked");
  await assert.rejects(beat(second), refusedAs("agent-locked"));
  const [lock = assert.fail("no audit row")] = await audited("agent.lock", agentId);
  assert.match(lock.reason, /was replaced, and is still there/);
  const named = new Map(lock.boots.map((boot) => [boot.bootId, boot]));
  assert.deepEqual([...named.keys()].sort(), [first.bootId, second.bootId].sort());
  for (const boot of named.values()) {
    assert.equal(boot.address, "192.0.2.20");
    assert.ok(boot.firstAt && boot.lastAt && boot.thumbprint);
  }
  assert.ok(
    plane.log.some(({ message, level }) => message === "Agent locked" && level === "error"),
  );
});

Deno.test("every call of a replaced boot is refused, and its result changes nothing", async () => {
  await using agent = await enrolled();
  const { agentId, siteIds: [siteId = assert.fail()] } = agent.identity;
  const [jobId = assert.fail()] = await backUpNow(plane, [await addDevice(plane, siteId)]);
  const first = await bootAfter(agent, 3);
  const [lease = assert.fail()] = await first.claim();
  const result = await signResult(first, lease, { status: "cancelled" });
  await open(await bootAfter(agent, 4));
  await stopTime(agentId);
  const calls = {
    claim: () => first.claim(),
    heartbeat: () => beat(first),
    result: () => first.call(reportResult, { params: { leaseId: lease.jti }, body: { result } }),
  };
  for (const run of Object.values(calls)) await assert.rejects(run(), refusedAs("conflict"));
  assert.equal(await statusOf(agentId), "active", "last words of a dead process lock nobody");
  assert.notEqual((await readJob(plane, jobId)).state, "cancelled");
});

Deno.test("a lock takes the leases of both copies back at once", async () => {
  const { agent, first, second } = await setFork();
  await using _ = agent;
  const { siteIds: [siteId = assert.fail()] } = agent.identity;
  const [jobId = assert.fail()] = await backUpNow(plane, [await addDevice(plane, siteId)]);
  const [lease = assert.fail()] = await second.claim();
  await assert.rejects(open(first).then(() => beat(first)), refusedAs("agent-locked"));
  const { state, hold } = await readJob(plane, jobId);
  assert.deepEqual([state, hold], ["available", "no_agent"]);
  const result = await signResult(second, lease, { status: "cancelled" });
  const params = { leaseId: lease.jti };
  await assert.rejects(
    second.call(reportResult, { params, body: { result } }),
    refusedAs("agent-locked"),
  );
});

Deno.test("a snapshot older than n-1 locks and says why; the click lets exactly it in", async () => {
  await using agent = await enrolled();
  const { agentId } = agent.identity;
  await open(await bootAfter(agent, 8));
  const restored = await bootAfter(agent, 2);
  await assert.rejects(open(restored), (error: unknown) => {
    assert.ok(error instanceof ProblemError && error.type === "agent-locked");
    assert.match(error.message, /number 3 although number 9 was heard.*restored, or a clone/);
    return true;
  });
  assert.equal((await boots(agentId)).get(restored.bootId)?.state, "waiting");
  const { status, trustedBootId } = await retrust(agentId, restored.bootId);
  assert.deepEqual([status, trustedBootId], ["active", restored.bootId]);
  assert.equal((await open(restored)).rotateKeys, true);
  await beat(restored);
});

Deno.test("retrust lets the chosen boot in and refuses the other for good, also as a new boot", async () => {
  const { agent, agentId, first, second } = await setFork();
  await using _ = agent;
  await assert.rejects(beat(first), refusedAs("agent-locked"));
  await retrust(agentId, first.bootId);
  await beat(first);
  assert.equal((await open(first)).rotateKeys, true);
  await assert.rejects(beat(second), refusedAs("agent-revoked"));
  const disguised = await bootAfter(agent, 20);
  await assert.rejects(open(disguised), refusedAs("agent-locked"));
  const states = [first, second, disguised].map(({ bootId }) => bootId);
  const listed = await boots(agentId);
  assert.deepEqual(states.map((id) => listed.get(id)?.state), ["current", "refused", "waiting"]);
  await beat(first);
  assert.equal(await statusOf(agentId), "active");
  const [row = assert.fail()] = await audited("agent.retrust", agentId);
  assert.deepEqual({ ...row, thumbprint: "" }, {
    bootId: first.bootId,
    refused: [second.bootId],
    thumbprint: "",
  });
});

Deno.test("retrust refuses a boot that is none, one that was refused, and an agent that is not locked", async () => {
  const { agent, agentId, first, second } = await setFork();
  await using _ = agent;
  const field = (error: unknown) =>
    error instanceof ProblemError && error.errors[0]?.pointer === "#/bootId";
  await assert.rejects(retrust(agentId, first.bootId), refusedAs("conflict"));
  await assert.rejects(beat(first), refusedAs("agent-locked"));
  await assert.rejects(retrust(agentId, crypto.randomUUID() as BootId), field);
  await retrust(agentId, first.bootId);
  await assert.rejects(retrust(agentId, second.bootId), field);
});

Deno.test("boots that race for the session: each comes after the other, none is lost, one holds it", async () => {
  await using agent = await enrolled();
  const { agentId } = agent.identity;
  const racing = [await bootByHand(plane, agent), await bootByHand(plane, agent)];
  await Promise.all(racing.map(open));
  const states = [...(await boots(agentId)).values()].map(({ state }) => state).sort();
  assert.deepEqual(states, ["current", "replaced"]);
  assert.equal(await statusOf(agentId), "active");
});

Deno.test("outsiders lock nobody: a session request without the agent's key leaves no trace", async () => {
  await using agent = await enrolled();
  const { agentId } = agent.identity;
  await open(await bootAfter(agent, 5));
  await using stranger = await enrolled();
  // The agent's folder and counter, another's key: the proof decides who it is.
  await open(await bootAfter({ ...stranger, state: agent.state }, 0));
  assert.equal((await boots(agentId)).size, 1);
  assert.equal(await statusOf(agentId), "active");
});

Deno.test("of an agent's boots the newest thirty are kept", async () => {
  await using agent = await enrolled();
  for (let n = 0; n < 33; n++) await open(await bootByHand(plane, agent));
  const listed = await boots(agent.identity.agentId);
  assert.equal(listed.size, 30);
  assert.equal(Math.min(...[...listed.values()].map(({ sequence }) => sequence)), 4);
});

Deno.test("a claim that is held while its boot is replaced is granted nothing", async () => {
  await using agent = await enrolled();
  const { agentId, siteIds: [siteId = assert.fail()] } = agent.identity;
  const deviceId = await addDevice(plane, siteId);
  const first = await bootAfter(agent, 3);
  await open(first);
  const claimId = crypto.randomUUID() as never;
  const body = { claimId, bootId: first.bootId, wanted: 1, waitSeconds: 20 };
  const held = first.call(claimLeases, { body });
  const heldEnd = assert.rejects(held, refusedAs("conflict"));
  await open(await bootAfter(agent, 4));
  await stopTime(agentId);
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  await heldEnd;
  assert.equal((await readJob(plane, jobId)).state, "available");
});
