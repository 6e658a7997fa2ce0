/** Real agents whose wall clock is wrong: nothing that is agreed or stored may hang on it. */
import assert from "node:assert/strict";
import { listAgents } from "@rookery/shared/api/agents.ts";
import { listBackups, listRevisions } from "@rookery/shared/api/backups.ts";
import { createJobs, getJob } from "@rookery/shared/api/jobs.ts";
import type { JobId } from "@rookery/shared/ids.ts";
import { startFarmChild } from "../demo/farm_child.ts";
import { createDevices, createSites, type DemoDevice } from "../demo/inventory.ts";
import { until } from "../support/agent_bench.ts";
import { testDatabase } from "../support/database.ts";
import { type AgentProcess, type CallApi, Installation } from "../support/installation.ts";
import { ProcessGroup } from "../support/processes.ts";

const database = testDatabase();
const HOUR_MS = 3_600_000;
/** Far less than an hour, and more than any wait between two lines of a test. */
const NEAR_MS = HOUR_MS / 4;
const PATIENCE_MS = 120_000;
const HOURS = [1, -1] as const;

function shiftedBy(hours: number): string[] {
  const module = new URL("../support/shifted_clock.ts", import.meta.url);
  module.searchParams.set("hours", String(hours));
  return [`--preload=${module}`];
}

/** By how many hours its log lines, which it printed just now, are wrong. */
function wrongHours(agent: AgentProcess): number[] {
  const stamps = [...agent.child().tail().matchAll(/\b\d{4}-\d\d-\d\d[T ][\d:.]+Z/g)];
  return stamps.map(([stamp]) => Math.round((Date.parse(stamp) - Date.now()) / HOUR_MS));
}

async function endOf(api: CallApi, jobId: JobId) {
  const read = () => api(getJob, { params: { jobId } });
  const isOver = async () => /completed|failed|dead/.test((await read()).state);
  await until(isOver, `${jobId} is over`, PATIENCE_MS);
  return await read();
}

function assertReal(instant: string | null | undefined, since: number): void {
  const ms = Date.parse(instant ?? "");
  // The control plane is on this machine; its database is, too.
  assert.ok(since - 1_000 <= ms && ms <= Date.now() + 1_000, `${instant} is not the real time`);
}

/** Backs it up; every time that is stored of it must be that of the control plane. */
async function backUp(api: CallApi, { deviceId }: DemoDevice): Promise<void> {
  const since = Date.now();
  const { jobs: [ordered = assert.fail()] } = await api(createJobs, {
    body: { deviceIds: [deviceId] },
  });
  const job = await endOf(api, ordered.jobId);
  assert.equal(job.state, "completed", job.reason ?? "");
  const { items: [backup = assert.fail()] } = await api(listBackups, {
    params: { deviceId },
    query: {},
  });
  assert.deepEqual([backup.jobId, backup.status], [job.id, "verified"]);
  const { items: [revision = assert.fail()] } = await api(listRevisions, {
    params: { deviceId },
    query: {},
  });
  const [attempt = assert.fail()] = job.history;
  for (const at of [job.endedAt, backup.receivedAt, revision.firstSeenAt]) assertReal(at, since);
  for (const at of [attempt.grantedAt, attempt.endedAt]) assertReal(at, since);
  assert.ok(backup.durationMs < NEAR_MS);
}

Deno.test("agents whose clocks are an hour ahead and an hour behind back devices up, and no stored time is theirs", async () => {
  await using group = await ProcessGroup.create("rookery-clock-");
  const farm = await startFarmChild(group, { devices: HOURS.length, seed: 1, faults: [] });
  const installation = await Installation.start(group, { databaseUrl: database.url });
  await installation.setUpAdministrator();
  const { api } = installation;
  const started = Date.now();
  const sites = await createSites(api, HOURS.length);
  const devices = await createDevices(api, sites, farm);
  for (const [index, hours] of HOURS.entries()) {
    const [site, device] = [sites[index] ?? assert.fail(), devices[index] ?? assert.fail()];
    const order = { name: site.name, siteIds: [site.siteId], capacity: 2 };
    const agent = await installation.addAgent({ ...order, denoFlags: shiftedBy(hours) });
    await backUp(api, device);
    await until(() => wrongHours(agent).length > 0, "it says what time it is", PATIENCE_MS);
    assert.deepEqual([...new Set(wrongHours(agent))], [hours], agent.child().tail());
    const { items } = await api(listAgents, { query: {} });
    assertReal(items.find(({ id }) => id === agent.agentId)?.lastSeenAt, started);
  }
});
