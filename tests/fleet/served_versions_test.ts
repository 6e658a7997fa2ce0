/** Which agents are served, and how those that are not show in the centre. */
import assert from "node:assert/strict";
import { getAgent, listAgents } from "@rookery/shared/api/agents.ts";
import type { AgentId, JobId } from "@rookery/shared/ids.ts";
import { whyTooOld } from "../../control-plane/agents/served_versions.ts";
import {
  addDevice,
  backUpNow,
  enrolAgent,
  makeJoinToken,
  makeSite,
  makeStateFolder,
  readJob,
  startAgent,
  until,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { fastClock } from "../support/fast_clock.ts";
import { joinWith, refusedAs } from "../support/joining.ts";
import { Wire } from "../support/wire.ts";

const database = testDatabase({ poolSize: 6 });
const plane = testControlPlane(database, {
  publicUrl: "https://rookery.test",
  engineVersion: "0.3.7",
});

Deno.test("whyTooOld() serves its own and the two minor versions before, and newer ones", () => {
  const served = (agentVersion: string, own: string) =>
    whyTooOld({ agentVersion, protocolVersion: 1 }, own) === undefined;
  for (const version of ["1.4.0", "1.3.9", "1.2.0", "1.2", "v1.2.0-rc.1", "1.5.0", "2.0.0"]) {
    assert.ok(served(version, "1.4.2"), version);
  }
  for (const version of ["1.1.9", "1.0.0", "0.9.0", "v1.1.0+build"]) {
    assert.ok(!served(version, "1.4.2"), version);
  }
  // Numbers, not texts; and an agent that others wrote is told by its protocol.
  assert.ok(served("1.10.0", "1.11.0") && !served("1.9.0", "1.12.0") && served("second", "1.4.2"));
  assert.ok(whyTooOld({ agentVersion: "1.4.0", protocolVersion: 2 }, "1.4.0"));
});

/** Between an agent and the control plane: makes it say that it has that version. */
function reporting(wire: Wire, version: () => string): Wire {
  wire.carrier = async (request, pass) => {
    const { pathname } = new URL(request.url);
    if (!/\/(session|enroll)$/.test(pathname)) return await pass(request);
    const { url, method, headers, signal } = request;
    const body = JSON.stringify({ ...await request.json(), agentVersion: version() });
    return await pass(new Request(url, { method, headers, signal, body }));
  };
  return wire;
}

async function agentOf(agentId: AgentId) {
  const admin = await plane.administrator();
  return await admin.call(getAgent, { params: { agentId } });
}

async function holdOf(jobId: JobId) {
  return (await readJob(plane, jobId)).hold;
}

Deno.test("an agent that is too old waits and shows as such, and so do its jobs; updated, it goes on", async () => {
  const siteId = await makeSite(plane);
  const deviceId = await addDevice(plane, siteId, { host: "127.0.0.1", port: 9 });
  await using enrolled = await enrolAgent(plane, [siteId]);
  const { agentId } = enrolled.identity;
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  assert.equal(await holdOf(jobId), "no_agent");
  let version = "0.0.9";
  const wire = reporting(new Wire(plane), () => version);
  await using running = await startAgent(plane, enrolled, { clock: fastClock, wire });
  await until(() => running.logged("agent_waits"), "the agent waits");
  const waits = running.log.find(({ event }) => event === "agent_waits");
  assert.match(String(waits?.reason), /version 0\.0\.9.*0\.3\.7/);
  const { tooOld, version: shown } = await agentOf(agentId);
  assert.deepEqual([tooOld, shown, await holdOf(jobId)], [true, "0.0.9", "agent_too_old"]);
  const admin = await plane.administrator();
  const { items } = await admin.call(listAgents, { query: {} });
  assert.deepEqual(items.filter((agent) => agent.tooOld).map(({ id }) => id), [agentId]);
  version = "0.1.0";
  await until(() => running.logged("agent_started"), "the agent works", 60_000);
  assert.equal((await agentOf(agentId)).tooOld, false);
  await until(async () => await holdOf(jobId) === null, "the job is held no more");
});

Deno.test("an agent that is too old is not enrolled, and does not burn its join token", async () => {
  const siteId = await makeSite(plane);
  const { joinToken } = await makeJoinToken(plane, [siteId]);
  await using folder = await makeStateFolder();
  const old = reporting(new Wire(plane), () => "0.0.1");
  await assert.rejects(
    joinWith(plane, joinToken, { ...folder, wire: old }),
    refusedAs("agent-too-old"),
  );
  const identity = await joinWith(plane, joinToken, folder);
  assert.deepEqual(identity.siteIds, [siteId]);
});
