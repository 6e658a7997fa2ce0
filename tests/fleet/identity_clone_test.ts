/** A true clone: two real agents from one state folder, and the way back without a visit. */
import assert from "node:assert/strict";
import { retrustAgent } from "@rookery/shared/api/agent_identity.ts";
import { getAgent } from "@rookery/shared/api/agents.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import type { BootId } from "@rookery/shared/ids.ts";
import { type Clock, systemClock } from "../../agent/clock.ts";
import { reapLeases } from "../../control-plane/jobs/reap.ts";
import {
  addFarmDevice,
  backUpNow,
  enrolAgent,
  makeSite,
  readJob,
  type RunningAgent,
  startAgent,
  until,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { refusedAs } from "../support/joining.ts";
import { copyState } from "../support/rotation.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const PATIENCE_MS = 90_000;

/** Agents whose minutes are some seconds. */
const clock: Clock = {
  now: () => performance.now() * 8,
  sleep: (ms, options) => systemClock.sleep(ms / 8, options),
};

function bootOf({ log }: RunningAgent): BootId {
  const started = log.find(({ event }) => event === "agent_started");
  return (started?.boot ?? assert.fail("it never started")) as BootId;
}

Deno.test("a cloned agent is locked with an alarm; one click, and one side backs up while the other is dead", async () => {
  await using device = await startDevice(makeRecording("frr", 1));
  const siteId = await makeSite(plane, { leaseTtlSeconds: 1_800 });
  const deviceId = await addFarmDevice(plane, siteId, device);
  await using enrolled = await enrolAgent(plane, [siteId]);
  const { agentId } = enrolled.identity;
  const admin = await plane.administrator();
  const status = async () => (await admin.call(getAgent, { params: { agentId } })).status;

  await using original = await startAgent(plane, enrolled, { clock });
  await until(() => original.logged("agent_started"), "the agent has started", PATIENCE_MS);
  await using stolen = await copyState(enrolled.state);
  await using clone = await startAgent(plane, stolen, { clock });
  await until(() => clone.logged("agent_started"), "the clone has started", PATIENCE_MS);

  await until(async () => await status() === "locked", "the agent is locked", PATIENCE_MS);
  const waits = () => original.logged("agent_waits") && clone.logged("agent_waits");
  await until(waits, "both wait for a person", PATIENCE_MS);
  const rows = await admin.call(listAuditRows, { query: { action: "agent.lock" } });
  const detail = JSON.stringify(rows.items.map((row) => row.detail));
  for (const copy of [original, clone]) assert.ok(detail.includes(bootOf(copy)), detail);
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);

  const body = { bootId: bootOf(original) };
  await admin.call(retrustAgent, { params: { agentId }, body });
  await until(() => original.logged("keys_rotated"), "the keys are new", PATIENCE_MS);
  const isBackedUp = async () => {
    // As a control plane does every second: a busy machine may not start an offer in time.
    await reapLeases(database.db);
    return (await readJob(plane, jobId)).state === "completed";
  };
  await until(isBackedUp, "backups go on", PATIENCE_MS);
  await assert.rejects(clone.agent.finished, refusedAs("agent-revoked"));

  // Started again it is another boot; its key is worth nothing any more, and that locks nobody.
  await using disguised = await startAgent(plane, stolen, { clock });
  await assert.rejects(disguised.agent.finished, refusedAs("agent-revoked"));
  assert.equal(await status(), "active");
});
