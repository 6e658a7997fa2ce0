/** Baselines and decisions: what becomes the one that everything later is compared with. */
import assert from "node:assert/strict";
import {
  decideQuarantine,
  getDeviceStatus,
  getRevision,
  listQuarantine,
} from "@rookery/shared/api/backups.ts";
import type { RevisionId, SiteId } from "@rookery/shared/ids.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import {
  frrConfiguration,
  makeReportingDevice,
  report,
  reportCaptures,
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

Deno.test("a text that lost exactly the threshold is no shrunk one, and one byte less is", async () => {
  const device = await makeReportingDevice(database.db, { shrinkPercent: 70 });
  const text = frrConfiguration({ interfaces: 200 });
  const padded = (size: number) => {
    const small = frrConfiguration({ interfaces: 1 });
    return small.replace("description", `description ${"x".repeat(size - small.length - 1)}`);
  };
  const whole = `${text}${" ".repeat(10 - text.length % 10)}`;
  const kindOf = async (sent: string) => {
    const recorded = await report(plane.services, device, sent);
    assert.ok(recorded.ok);
    return recorded.captures[0]?.kind;
  };
  assert.equal(await kindOf(whole), "new");
  assert.equal(await kindOf(padded(whole.length * 3 / 10 - 1)), "quarantined");
  assert.equal(await kindOf(padded(whole.length * 3 / 10)), "new");
});

Deno.test("a late report between makes its revision current, and the status names that one", async () => {
  const device = await makeReportingDevice(database.db);
  await backUp(device, 100);
  const between = Temporal.Now.instant();
  const held = await backUp(device, 20);
  const before = await statusOf(device);
  const late = await backUp(device, 90, { attempt: { late: true, capturedAt: between } });
  const { call } = await plane.administrator();
  const isCurrent = async ({ revisionId }: typeof late) =>
    (await call(getRevision, { params: { revisionId } })).current;
  assert.equal(await isCurrent(late), true);
  const status = await statusOf(device);
  assert.equal(status.revisionId, late.revisionId);
  assert.deepEqual([status.lastOutcome, status.lastAttemptAt], [
    "quarantined",
    before.lastAttemptAt,
  ]);
  await decide("accept", held.revisionId);
  assert.equal(await isCurrent(held), true);
  const after = await statusOf(device);
  assert.deepEqual([after.revisionId, after.lastOutcome], [held.revisionId, "verified"]);
});

Deno.test("of two people who decide at once, the audit names each who did, and accepting wins", async () => {
  for (let round = 0; round < 5; round++) {
    const device = await makeReportingDevice(database.db);
    await backUp(device, 100);
    const { revisionId } = await backUp(device, 20);
    const decisions = await Promise.allSettled([
      decide("reject", revisionId),
      decide("accept", revisionId),
      decide("accept", revisionId),
      decide("reject", revisionId),
    ]);
    const done = decisions.filter(({ status }) => status === "fulfilled").length;
    for (const decision of decisions) {
      if (decision.status === "rejected") assert.match(String(decision.reason), /does not wait/);
    }
    const { call } = await plane.administrator();
    const revision = await call(getRevision, { params: { revisionId } });
    assert.deepEqual([revision.state, revision.current], ["accepted", true]);
    const audited = await database.db.selectFrom("auditRows").select("action")
      .where("targetId", "=", revisionId).execute();
    assert.equal(audited.length, done);
    assert.equal(audited.filter(({ action }) => action === "revision.accept").length, 1);
  }
});

Deno.test("reports and decisions at once leave no gap in the numbers and one current revision", async () => {
  const device = await makeReportingDevice(database.db);
  await backUp(device, 100);
  const { revisionId } = await backUp(device, 20);
  await Promise.all([
    ...[101, 102, 21, 22, 20].map((interfaces) => backUp(device, interfaces)),
    decide("accept", revisionId),
  ]);
  const revisions = await database.db.selectFrom("revisions").selectAll()
    .where("deviceId", "=", device.deviceId).orderBy("number").execute();
  assert.deepEqual(revisions.map(({ number }) => number), revisions.map((_, index) => index + 1));
  const current = await database.db.selectFrom("currentTexts").select("revisionId")
    .where("deviceId", "=", device.deviceId).execute();
  assert.deepEqual(current.map((row) => row.revisionId), [(await statusOf(device)).revisionId]);
});

Deno.test("a held text whose volatile lines differ is the same entry, with the bytes it was first seen with", async () => {
  const device = await makeReportingDevice(database.db);
  await backUp(device, 100);
  const seen = (time: string) =>
    report(plane.services, device, frrConfiguration({ interfaces: 20, time }));
  const [first, again] = [await seen("10:00"), await seen("11:00")];
  assert.ok(first.ok && again.ok);
  assert.equal(first.captures[0]?.revisionId, again.captures[0]?.revisionId);
  const revisionId = first.captures[0]?.revisionId;
  assert.ok(revisionId);
  const { lastAttemptAt } = await statusOf(device);
  const { call } = await plane.administrator();
  const revision = await call(getRevision, { params: { revisionId } });
  assert.equal(revision.lastSeenAt, lastAttemptAt);
  await decide("accept", revisionId);
  assert.equal((await statusOf(device)).lastOutcome, "verified");
});

/** A running and a startup configuration, of so many interfaces each. */
function backUpTwo(device: ReportingDevice, running: number, startup: number) {
  return reportCaptures(plane.services, device, {
    running: frrConfiguration({ interfaces: running }),
    startup: frrConfiguration({ interfaces: startup }),
  });
}

Deno.test("of two captures the one that did not shrink goes on, and both accepted make the attempt verified", async () => {
  const device = await makeReportingDevice(database.db);
  const first = await backUpTwo(device, 100, 100);
  assert.equal(first.status, "verified");
  const { lastVerifiedAt } = await statusOf(device);
  const second = await backUpTwo(device, 101, 20);
  assert.deepEqual(second.captures.map(({ kind }) => kind), ["new", "quarantined"]);
  const [running, startup] = second.captures;
  assert.ok(running && startup);
  const held = await statusOf(device);
  assert.deepEqual([held.lastOutcome, held.revisionId, held.lastVerifiedAt, held.unsaved], [
    "quarantined",
    running.revisionId,
    lastVerifiedAt,
    true,
  ]);
  const third = await backUpTwo(device, 21, 20);
  const [alsoRunning] = third.captures;
  assert.ok(alsoRunning);
  await decide("accept", startup.revisionId);
  const half = await statusOf(device);
  assert.deepEqual([half.lastOutcome, half.revisionId], ["quarantined", running.revisionId]);
  assert.equal(half.lastVerifiedAt, lastVerifiedAt);
  await decide("accept", alsoRunning.revisionId);
  const whole = await statusOf(device);
  assert.deepEqual([whole.lastOutcome, whole.revisionId, whole.lastVerifiedAt], [
    "verified",
    alsoRunning.revisionId,
    whole.lastAttemptAt,
  ]);
});

Deno.test("all that waits at a site is decided at once, when it is as many as somebody has looked at", async () => {
  const siteId = newId<SiteId>();
  const held: RevisionId[] = [];
  for (let n = 0; n < 3; n++) {
    const device = await makeReportingDevice(database.db, { siteId });
    await backUp(device, 100);
    held.push((await backUp(device, 20)).revisionId);
  }
  const elsewhere = await makeReportingDevice(database.db);
  await backUp(elsewhere, 100);
  const { revisionId: other } = await backUp(elsewhere, 20);
  const { call } = await plane.administrator();
  const decideSite = (expected: number) =>
    call(decideQuarantine, { body: { decision: "accept", siteId, expected } });
  await assert.rejects(decideSite(2), /There wait more than 2 configurations/);
  await assert.rejects(decideSite(4), /There wait 3 configurations/);
  const both = { decision: "accept", siteId, expected: 3, revisionIds: held } as const;
  await assert.rejects(call(decideQuarantine, { body: both }), { type: "validation" });
  const { items } = await decideSite(3);
  assert.deepEqual(new Set(items.map(({ id }) => id)), new Set(held));
  assert.ok(items.every(({ state, current }) => state === "accepted" && current));
  const audited = await database.db.selectFrom("auditRows").select("targetId")
    .where("action", "=", "revision.accept").where("siteId", "=", siteId).execute();
  assert.deepEqual(new Set(audited.map(({ targetId }) => targetId)), new Set<string>(held));
  const left = await call(getRevision, { params: { revisionId: other } });
  assert.equal(left.state, "quarantined");
});
