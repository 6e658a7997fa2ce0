/** Baselines and decisions: what becomes the one that everything later is compared with. */
import assert from "node:assert/strict";
import {
  decideQuarantine,
  getDeviceStatus,
  getRevision,
  listQuarantine,
} from "@rookery/shared/api/backups.ts";
import type { RevisionId } from "@rookery/shared/ids.ts";
import {
  frrConfiguration,
  makeReportingDevice,
  report,
  type ReportingDevice,
  type ReportOptions,
} from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);

async function decide(decision: "accept" | "reject", revisionId: RevisionId) {
  const { call } = await plane.administrator();
  return await call(decideQuarantine, { body: { decision, revisionIds: [revisionId] } });
}

async function statusOf({ deviceId }: ReportingDevice) {
  const { call } = await plane.administrator();
  return await call(getDeviceStatus, { params: { deviceId } });
}

async function backUp(device: ReportingDevice, interfaces: number, options: ReportOptions = {}) {
  const recorded = await report(
    plane.services,
    device,
    frrConfiguration({ interfaces }),
    options,
  );
  assert.ok(recorded.ok);
  const [capture] = recorded.captures;
  assert.ok(capture);
  return capture;
}

Deno.test("accepting after a failure makes the status name the new baseline and its age", async () => {
  const device = await makeReportingDevice(database.db);
  await backUp(device, 100);
  const held = await backUp(device, 20);
  const { lastAttemptAt: heldAt } = await statusOf(device);
  await report(plane.services, device, "half a configuration");
  await decide("accept", held.revisionId);
  const status = await statusOf(device);
  assert.deepEqual(
    [status.lastOutcome, status.failureStreak, status.revisionId, status.lastVerifiedAt],
    ["failed", 1, held.revisionId, heldAt],
  );
  assert.ok(status.failureCode);
});

Deno.test("a rejected text stays held when a smaller baseline comes between", async () => {
  const device = await makeReportingDevice(database.db);
  await backUp(device, 100);
  const held = await backUp(device, 30);
  assert.equal(held.kind, "quarantined");
  await decide("reject", held.revisionId);
  const between = await backUp(device, 55);
  assert.equal(between.kind, "new");
  const again = await backUp(device, 30);
  assert.deepEqual([again.kind, again.revisionId], ["quarantined", held.revisionId]);
  const { call } = await plane.administrator();
  const params = { revisionId: between.revisionId };
  assert.equal((await call(getRevision, { params })).current, true);
  const query = { deviceId: device.deviceId };
  assert.deepEqual((await call(listQuarantine, { query })).items, []);
  await decide("accept", held.revisionId);
  assert.equal((await statusOf(device)).revisionId, held.revisionId);
});
