import assert from "node:assert/strict";
import {
  downloadExactRevision,
  getDeviceStatus,
  listRevisions,
  readRevisionText,
} from "@rookery/shared/api/backups.ts";
import { listAgents } from "@rookery/shared/api/agents.ts";
import { listJobs } from "@rookery/shared/api/jobs.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import { setStage, type Stage } from "../demo/stage.ts";
import type { DemoDevice } from "../demo/inventory.ts";
import { dumpTables, findSecret, readEverything, readFolder } from "../support/haystacks.ts";
import type { Fault } from "../support/farm/fault.ts";
import { ProcessGroup } from "../support/processes.ts";

/** Troubles that a complete configuration gets through. */
const HARMLESS: readonly Fault[] = [
  "slow_drip",
  "prompt_lookalikes",
  "error_text_in_configuration",
];

/** What must never leave a revision behind, and how it may be called. */
const TRUNCATIONS: Partial<Record<Fault, readonly FailureCode[]>> = {
  die_mid_configuration: ["connection_lost"],
  close_mid_configuration: ["connection_lost", "configuration_truncated"],
  stall_mid_configuration: ["idle_timed_out"],
  stop_at_prompt_mid_configuration: ["configuration_truncated"],
  empty_configuration: ["configuration_empty", "configuration_too_short"],
  endless_pager: ["pager_stuck", "configuration_too_large"],
  binary: ["configuration_binary"],
  huge: ["configuration_too_large"],
  reject_password: ["auth_rejected"],
  wrong_enable: ["enable_rejected"],
};

Deno.test("a fleet's backups hold what the devices sent, and no secret is anywhere", async (t) => {
  await using group = await ProcessGroup.create("rookery-truth-");
  const faults = [...HARMLESS, ...Object.keys(TRUNCATIONS) as Fault[]];
  const stage = await setStage(group, { devices: 28, seed: 17, faults });
  await stage.playRound();
  await stage.playRound();

  await t.step("sound devices: the exact bytes are what the farm sent", async () => {
    const sound = stage.devices.filter(({ member: { fault } }) =>
      fault === null || HARMLESS.includes(fault)
    );
    assert.ok(sound.length >= 15);
    for (const device of sound) await assertExact(stage, device);
  });

  await t.step("truncations: no revision, and the reason", async () => {
    for (const device of stage.devices) {
      const codes = TRUNCATIONS[device.member.fault ?? "slow_drip"];
      if (codes) await assertNothingStored(stage, device, codes);
    }
  });

  await t.step("no secret in database, logs, state folders, data folder and replies", async () => {
    const { installation, farm } = stage;
    const haystacks = [
      ...await dumpTables(installation.dataFolder),
      { name: "the logs", text: installation.logs },
      ...(await Promise.all(stage.agents.map((agent) => readFolder(agent.stateFolder)))).flat(),
      ...await readFolder(installation.dataFolder, { except: "postgres" }),
      ...await readEverything(installation.api, await idsOf(stage)),
    ];
    assert.ok(haystacks.length > 60, `only ${haystacks.length} places were searched`);
    assert.ok(
      findSecret(haystacks, stage.devices[0]?.name ?? "").length > 3,
      "the search is blind",
    );
    assert.ok(farm.secrets.length > 50);
    for (const secret of farm.secrets) assert.deepEqual(findSecret(haystacks, secret), []);
  });
});

async function revisionsOf({ installation: { api } }: Stage, { deviceId }: DemoDevice) {
  return (await api(listRevisions, { params: { deviceId }, query: {} })).items;
}

/** The newest exact copy is, to the byte, what the device says it sent; the readable one has no secret. */
async function assertExact(stage: Stage, device: DemoDevice): Promise<void> {
  const { installation: { api }, farm } = stage;
  const [revision, ...older] = await revisionsOf(stage, device);
  assert.ok(revision, `${device.name} has no revision`);
  assert.deepEqual(older, [], `${device.name} did not change`);
  const params = { revisionId: revision.id };
  const exact = new TextDecoder().decode(await api(downloadExactRevision, { params }));
  const { sent } = await farm.show(device.member.port);
  assert.ok(sent.includes(exact), `${device.name} never sent what was stored`);
  const readable = await api(readRevisionText, { params });
  assert.deepEqual(farm.secrets.filter((secret) => readable.includes(secret)), []);
}

async function assertNothingStored(
  stage: Stage,
  device: DemoDevice,
  codes: readonly FailureCode[],
): Promise<void> {
  const { member: { fault }, deviceId } = device;
  assert.deepEqual(await revisionsOf(stage, device), [], `${fault} left a revision`);
  const status = await stage.installation.api(getDeviceStatus, { params: { deviceId } });
  assert.equal(status.lastOutcome, "failed");
  assert.equal(status.lastVerifiedAt, null);
  assert.ok(
    status.failureCode && codes.includes(status.failureCode),
    `${fault}: ${status.failureCode}`,
  );
}

async function idsOf(stage: Stage): Promise<Record<string, string[]>> {
  const { installation: { api }, devices, sites } = stage;
  const [{ items: jobs }, { items: agents }, revisions] = await Promise.all([
    api(listJobs, { query: {} }),
    api(listAgents, { query: {} }),
    Promise.all(devices.map((device) => revisionsOf(stage, device))),
  ]);
  return {
    deviceId: devices.map(({ deviceId }) => deviceId),
    siteId: sites.map(({ siteId }) => siteId),
    jobId: jobs.map(({ id }) => id),
    agentId: agents.map(({ id }) => id),
    revisionId: revisions.flat().map(({ id }) => id),
  };
}
