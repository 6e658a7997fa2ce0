/** New keys for an agent: agreed by both, used at once, and never lost on the way. */
import assert from "node:assert/strict";
import { sql } from "kysely";
import { calculateJwkThumbprint } from "jose";
import {
  reportResult,
  rotateAgentKeys,
  sendHeartbeat,
} from "@rookery/shared/api/agent_protocol.ts";
import { requestKeyRotation } from "@rookery/shared/api/agent_identity.ts";
import { getAgent, revokeAgent } from "@rookery/shared/api/agents.ts";
import type { AgentId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import {
  addDevice,
  addFarmDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  type EnrolledAgent,
  makeSite,
  type ManualBoot,
  readJob,
  signResult,
  startAgent,
  until,
  untilJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { fastClock } from "../support/fast_clock.ts";
import { refusedAs } from "../support/joining.ts";
import { copyState, makeKeys, proofKeyOf, publicOf, rotationBody } from "../support/rotation.ts";
import { Wire } from "../support/wire.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const { signal } = new AbortController();
const PATIENCE_MS = 60_000;

async function enrolled(): Promise<EnrolledAgent> {
  return await enrolAgent(plane, [await makeSite(plane)]);
}

async function ask(agentId: AgentId): Promise<void> {
  const admin = await plane.administrator();
  await admin.call(requestKeyRotation, { params: { agentId } });
}

async function keysOf(agentId: AgentId): Promise<Record<string, string>> {
  const { rows } = await sql<{ thumbprint: string; state: string }>`
    select thumbprint, state from agent_keys where agent_id = ${agentId}`.execute(database.db);
  return Object.fromEntries(rows.map(({ thumbprint, state }) => [thumbprint, state]));
}

async function statusOf(agentId: AgentId) {
  const admin = await plane.administrator();
  return await admin.call(getAgent, { params: { agentId } });
}

function thumbprintOf({ signKey }: { signKey: Record<string, string> }) {
  return calculateJwkThumbprint(publicOf(signKey));
}

function beat(boot: ManualBoot) {
  return boot.call(sendHeartbeat, { body: { bootId: boot.bootId, leaseIds: [] } });
}

async function ageNextKey(agentId: AgentId, hours: number): Promise<void> {
  await sql`update agent_keys set added_at = clock_timestamp() - make_interval(hours => ${hours})
    where agent_id = ${agentId} and state = 'next'`.execute(database.db);
}

Deno.test("an agent that is asked makes new keys, uses them at once, and its old key is over", async () => {
  await using agent = await enrolled();
  const { agentId } = agent.identity;
  const old = await thumbprintOf(agent.identity);
  await ask(agentId);
  await using running = await startAgent(plane, agent, { clock: fastClock });
  await until(() => running.logged("keys_rotated"), "the keys are new", PATIENCE_MS);
  const identity = await agent.state.readIdentity() ?? assert.fail();
  const { thumbprint, status } = await statusOf(agentId);
  assert.equal(thumbprint, await thumbprintOf(identity));
  assert.notEqual(identity.sealKey.x, agent.identity.sealKey.x);
  assert.deepEqual([status, await keysOf(agentId)], ["active", {
    [old]: "retired",
    [thumbprint]: "current",
  }]);
  const names = (await Array.fromAsync(Deno.readDir(agent.state.path))).map(({ name }) => name);
  assert.ok(!names.includes("next_keys.json"), "the rotation is not finished on disk");
  const { rows } = await sql`select 1 from audit_rows where target_id = ${agentId}
    and action in ('agent.request_key_rotation', 'agent.rotate_keys')`.execute(database.db);
  assert.equal(rows.length, 2);
});

Deno.test("a key of thirty days is replaced without anybody's asking, a younger one is not", async () => {
  await using agent = await enrolled();
  const { agentId } = agent.identity;
  const boot = await bootByHand(plane, agent);
  const age = (days: number) =>
    sql`update agent_keys set added_at = clock_timestamp() - make_interval(days => ${days})
      where agent_id = ${agentId}`.execute(database.db);
  await age(29);
  assert.equal((await boot.controlPlane.session({ signal })).rotateKeys, false);
  await age(31);
  await boot.controlPlane.useKey(await proofKeyOf(agent.identity));
  assert.equal((await boot.controlPlane.session({ signal })).rotateKeys, true);
});

Deno.test("a rotation whose reply was lost is repeated with the same keys and is one rotation", async () => {
  await using agent = await enrolled();
  const { agentId } = agent.identity;
  await ask(agentId);
  const wire = new Wire(plane);
  let lost = 0;
  wire.carrier = async (request, pass) => {
    const response = await pass(request);
    if (!request.url.endsWith("/keys/rotate") || response.status !== 200 || lost++ > 0) {
      return response;
    }
    await response.body?.cancel();
    throw new TypeError("the connection broke before the reply came");
  };
  await using running = await startAgent(plane, agent, { clock: fastClock, wire });
  await until(() => running.logged("keys_rotated"), "the keys are new", PATIENCE_MS);
  assert.ok(lost > 1);
  assert.deepEqual(Object.values(await keysOf(agentId)).sort(), ["current", "retired"]);
});

/** Kills the agent (nothing of it is heard any more) when it sends `path`, and gives its folder as it was then. */
async function killAt(
  agent: EnrolledAgent,
  at: { path: string; nth?: number; when: "before" | "after" },
): Promise<EnrolledAgent> {
  const wire = new Wire(plane);
  const killed = Promise.withResolvers<EnrolledAgent>();
  let seen = 0;
  let dead = false;
  wire.carrier = async (request, pass) => {
    if (dead) throw new TypeError("the process is dead");
    const isIt = request.url.endsWith(at.path) && request.headers.get("dpop") !== null;
    if (!isIt || (at.when === "before" && ++seen < (at.nth ?? 1))) return await pass(request);
    const response = at.when === "after" ? await pass(request) : undefined;
    if (response && response.status !== 200) return response;
    await response?.body?.cancel();
    dead = true;
    killed.resolve(await copyState(agent.state));
    throw new TypeError("the process is dead");
  };
  const running = await startAgent(plane, agent, { clock: fastClock, wire });
  const left = await killed.promise;
  await running[Symbol.asyncDispose]();
  return left;
}

Deno.test("kill -9 at any step of a rotation loses no agent: the next boot ends what was begun", async (t) => {
  const moments = {
    "new keys on disk, nothing sent": { path: "/keys/rotate", when: "before" },
    "agreed, the reply never read": { path: "/keys/rotate", when: "after" },
    // The first boot opens its session with one refused nonce; the new key needs one of its own.
    "adopted, never used": { path: "/session", nth: 3, when: "before" },
  } as const;
  for (const [moment, at] of Object.entries(moments)) {
    await t.step(moment, async () => {
      await using agent = await enrolled();
      const { agentId } = agent.identity;
      await ask(agentId);
      await using left = await killAt(agent, at);
      await using again = await startAgent(plane, left, { clock: fastClock });
      await until(() => again.logged("agent_started"), "it is back", PATIENCE_MS);
      const isNew = async () =>
        (await statusOf(agentId)).thumbprint !== await thumbprintOf(agent.identity);
      await until(isNew, "the keys are new", PATIENCE_MS);
      await until(
        async () =>
          await thumbprintOf(await left.state.readIdentity() ?? assert.fail()) ===
            (await statusOf(agentId)).thumbprint,
        "both sides agree",
        PATIENCE_MS,
      );
      assert.equal((await statusOf(agentId)).status, "active");
    });
  }
  await t.step("in force on disk, the note of the rotation not yet removed", async () => {
    await using agent = await enrolled();
    await agent.state.writeNextKeys(agent.identity);
    await using again = await startAgent(plane, agent);
    await until(() => again.logged("agent_started"), "it is back", PATIENCE_MS);
    assert.equal(await agent.state.readNextKeys(), undefined);
  });
});

Deno.test("the old key works beside an unused new one for a day, and no longer", async (t) => {
  await t.step("for a day", async () => {
    await using agent = await enrolled();
    const boot = await bootByHand(plane, agent);
    const body = await rotationBody(agent.identity, await makeKeys());
    const { oldKeyAcceptedSeconds } = await boot.call(rotateAgentKeys, { body });
    assert.equal(oldKeyAcceptedSeconds, 86_400);
    await ageNextKey(agent.identity.agentId, 23);
    await beat(boot);
    await ageNextKey(agent.identity.agentId, 25);
    await assert.rejects(beat(boot), refusedAs("agent-locked"));
  });
  await t.step("the new one goes on", async () => {
    await using agent = await enrolled();
    const boot = await bootByHand(plane, agent);
    const next = await makeKeys();
    await boot.call(rotateAgentKeys, { body: await rotationBody(agent.identity, next) });
    await ageNextKey(agent.identity.agentId, 25);
    await boot.controlPlane.useKey(await proofKeyOf(next));
    await beat(boot);
    assert.equal((await statusOf(agent.identity.agentId)).thumbprint, await thumbprintOf(next));
  });
});

Deno.test("a rotated key that is shown again comes from an old copy, and locks the agent", async () => {
  await using agent = await enrolled();
  const { agentId } = agent.identity;
  const boot = await bootByHand(plane, agent);
  const next = await makeKeys();
  await boot.call(rotateAgentKeys, { body: await rotationBody(agent.identity, next) });
  await boot.controlPlane.useKey(await proofKeyOf(next));
  await beat(boot);
  const copy = await bootByHand(plane, agent);
  await assert.rejects(beat(copy), refusedAs("conflict"), "it may be the last word of the boot");
  await sql`update agent_keys set retired_at = retired_at - interval '1 minute'
    where agent_id = ${agentId} and state = 'retired'`.execute(database.db);
  await assert.rejects(beat(copy), refusedAs("agent-locked"));
  assert.equal((await statusOf(agentId)).status, "locked");
});

Deno.test("a statement that either key did not sign as it stands changes nothing", async (t) => {
  await using agent = await enrolled();
  const { identity } = agent;
  const boot = await bootByHand(plane, agent);
  const [next, other] = [await makeKeys(), await makeKeys()];
  const sound = await rotationBody(identity, next);
  const wrong = {
    "signed by a stranger for the old key": await rotationBody(identity, next, {
      byOld: other.signKey,
    }),
    "signed by a stranger for the new key": await rotationBody(identity, next, {
      byNew: other.signKey,
    }),
    "two statements": { ...sound, byNew: (await rotationBody(identity, other)).byNew },
    "another type": await rotationBody(identity, next, { typ: "rookery-result+jwt" }),
    "another agent": await rotationBody(identity, next, { claims: { iss: crypto.randomUUID() } }),
    "another control plane": await rotationBody(identity, next, { claims: { aud: "urn:x" } }),
    "another old key": await rotationBody(identity, next, {
      claims: { oldThumbprint: "A".repeat(43) },
    }),
    "the old key as the new one": await rotationBody(identity, identity),
    "no JWS": { byOld: "x", byNew: "y" },
  };
  for (const [what, body] of Object.entries(wrong)) {
    await t.step(what, async () => {
      await assert.rejects(
        boot.call(rotateAgentKeys, { body }),
        (error: unknown) =>
          error instanceof ProblemError && error.type === "validation" &&
          /^#\/by(Old|New)$/.test(error.errors[0]?.pointer ?? ""),
      );
    });
  }
  assert.deepEqual(Object.values(await keysOf(identity.agentId)), ["current"]);
  await boot.call(rotateAgentKeys, { body: sound });
});

Deno.test("other new keys take the place of ones that were never used, which are then worthless", async () => {
  await using agent = await enrolled();
  const boot = await bootByHand(plane, agent);
  const [given, next] = [await makeKeys(), await makeKeys()];
  const rotate = async (keys: typeof next) =>
    await boot.call(rotateAgentKeys, { body: await rotationBody(agent.identity, keys) });
  await rotate(given);
  await rotate(next);
  await assert.rejects(rotate(given), refusedAs("conflict"));
  const stale = await bootByHand(plane, agent);
  await stale.controlPlane.useKey(await proofKeyOf(given));
  await assert.rejects(beat(stale), refusedAs("agent-revoked"));
});

Deno.test("a result that was signed before a rotation is accepted after it", async () => {
  await using agent = await enrolled();
  const { siteIds: [siteId = assert.fail()] } = agent.identity;
  await backUpNow(plane, [await addDevice(plane, siteId)]);
  const boot = await bootByHand(plane, agent);
  const [lease = assert.fail()] = await boot.claim();
  const result = await signResult(boot, lease, { status: "cancelled" });
  const next = await makeKeys();
  await boot.call(rotateAgentKeys, { body: await rotationBody(agent.identity, next) });
  await boot.controlPlane.useKey(await proofKeyOf(next));
  const params = { leaseId: lease.jti };
  const { answer } = await boot.call(reportResult, { params, body: { result } });
  assert.equal(answer, "accepted");
});

/** Keeps a rotation waiting until a lease was granted, and the lease until the new keys are in use. */
function rotatingBetween(): Wire {
  const wire = new Wire(plane);
  const granted = Promise.withResolvers<void>();
  const rotated = Promise.withResolvers<void>();
  let agreed = false;
  wire.carrier = async (request, pass) => {
    const { pathname } = new URL(request.url);
    const isOf = (path: string) => pathname.endsWith(path);
    if (isOf("/keys/rotate")) await granted.promise;
    const response = await pass(request);
    if (!response.ok) return response;
    if (isOf("/keys/rotate")) agreed = true;
    if (isOf("/session") && agreed) rotated.resolve();
    if (isOf("/claim") && (await response.clone().json()).leases.length > 0) {
      granted.resolve();
      await rotated.promise;
    }
    return response;
  };
  return wire;
}

Deno.test("a lease that was sealed to the former sealing key, the keys changed on its way, is opened and run", async () => {
  await using agent = await enrolled();
  const { agentId, siteIds: [siteId = assert.fail()], sealKey } = agent.identity;
  await using device = await startDevice(makeRecording("frr", 31));
  const [jobId = assert.fail()] = await backUpNow(plane, [
    await addFarmDevice(plane, siteId, device),
  ]);
  await ask(agentId);
  const wire = rotatingBetween();
  await using running = await startAgent(plane, agent, { clock: fastClock, wire });
  const job = await untilJob(plane, jobId, "completed", "failed", "dead");
  assert.equal(job.state, "completed", JSON.stringify([job, running.log]));
  assert.equal(job.history.length, 1, "it was another lease that was run");
  assert.notEqual((await agent.state.readIdentity())?.sealKey.x, sealKey.x);
});

Deno.test("a lease that was sealed to a key that was never the agent's is refused, and no device hears of it", async () => {
  await using agent = await enrolled();
  const { agentId, siteIds: [siteId = assert.fail()] } = agent.identity;
  await using device = await startDevice(makeRecording("frr", 32));
  const { sealKey } = await makeKeys();
  await sql`update agents set seal_jwk = ${JSON.stringify(publicOf(sealKey))}::text::jsonb
    where id = ${agentId}`.execute(database.db);
  const [jobId = assert.fail()] = await backUpNow(plane, [
    await addFarmDevice(plane, siteId, device),
  ]);
  await using running = await startAgent(plane, agent, { clock: fastClock });
  await until(() => running.logged("lease_refused"), "the lease is refused", PATIENCE_MS);
  const refused = running.log.find(({ event }) => event === "lease_refused");
  assert.match(String(refused?.reason), /Cannot open the credential/);
  await until(() => running.logged("result_delivered"), "the refusal is told", PATIENCE_MS);
  const { history: [attempt] } = await readJob(plane, jobId);
  assert.deepEqual([attempt?.outcome, attempt?.failureCode], ["failed", "lease_invalid"]);
  assert.equal(device.log.connections, 0);
});

Deno.test("a revocation beats a rotation: neither the old nor the agreed keys are good for anything", async () => {
  await using agent = await enrolled();
  const { agentId } = agent.identity;
  const boot = await bootByHand(plane, agent);
  const next = await makeKeys();
  const body = await rotationBody(agent.identity, next);
  await boot.call(rotateAgentKeys, { body });
  const admin = await plane.administrator();
  await admin.call(revokeAgent, { params: { agentId } });
  await assert.rejects(boot.call(rotateAgentKeys, { body }), refusedAs("agent-revoked"));
  await boot.controlPlane.useKey(await proofKeyOf(next));
  await assert.rejects(beat(boot), refusedAs("agent-revoked"));
});

Deno.test("a control plane that was restored from before the rotation knows the agent by its former key", async () => {
  await using agent = await enrolled();
  const { agentId } = agent.identity;
  const former = await thumbprintOf(agent.identity);
  await agent.state.adoptKeys(await makeKeys());
  await using running = await startAgent(plane, agent);
  await until(() => running.logged("agent_started"), "it is back", PATIENCE_MS);
  assert.equal((await statusOf(agentId)).thumbprint, former);
  assert.equal(await thumbprintOf(await agent.state.readIdentity() ?? assert.fail()), former);
});
