import assert from "node:assert/strict";
import { OpenAPIHono } from "@hono/zod-openapi";
import {
  decideQuarantine,
  diffRevision,
  downloadExactRevision,
  getDeviceStatus,
  getRevision,
  listBackups,
  listQuarantine,
  listRevisions,
  readRevisionText,
  readUnifiedDiff,
} from "@rookery/shared/api/backups.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { call } from "@rookery/shared/client.ts";
import { type AnyEndpoint, type CallInput, type CallReply } from "@rookery/shared/endpoint.ts";
import { RevisionId, type SiteId, type UserId } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { mountQuarantine } from "../../control-plane/backups/quarantine_routes.ts";
import { mountBackups } from "../../control-plane/backups/routes.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import type { AppEnv } from "../../control-plane/http/app_type.ts";
import type { Scope, UserCaller } from "../../control-plane/http/caller.ts";
import { mountProblems } from "../../control-plane/http/problems.ts";
import { grantsOf } from "../../control-plane/permissions/grants.ts";
import {
  frrConfiguration,
  makeReportingDevice,
  report,
  type ReportingDevice,
} from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);

async function administrator<E extends AnyEndpoint>(
  endpoint: E,
  input: CallInput<E>,
): Promise<CallReply<E>> {
  const { call } = await plane.administrator();
  return await call(endpoint, input);
}

/** Calls the routes as somebody whose permissions reach so far. */
function as(scope: Scope) {
  const app = new OpenAPIHono<AppEnv>();
  const permissions = [...grantsOf({ administrator: true, rules: [] }).keys()];
  const grants = new Map(permissions.map((name) => [name, scope]));
  const via = { kind: "session", sessionId: "s" } as const;
  const userId = newId<UserId>();
  const caller: UserCaller = { kind: "user", userId, username: "ada", grants, via };
  app.use(async (context, next) => {
    context.set("requestId", "request-1");
    context.set("address", "192.0.2.1");
    context.set("log", () => {});
    context.set("overload", plane.services.overload);
    context.set("authenticate", () => Promise.resolve(caller));
    await next();
  });
  mountProblems(app);
  mountBackups(app, plane.services);
  mountQuarantine(app, plane.services);
  return <E extends AnyEndpoint>(endpoint: E, input: CallInput<E>): Promise<CallReply<E>> =>
    call((request) => app.fetch(request), "http://rookery.test", endpoint, input);
}

function decide(decision: "accept" | "reject", ...revisionIds: RevisionId[]) {
  return administrator(decideQuarantine, { body: { decision, revisionIds } });
}

async function backUp(device: ReportingDevice, text: string) {
  const recorded = await report(plane.services, device, text);
  assert.ok(recorded.ok);
  const [capture] = recorded.captures;
  assert.ok(capture);
  return capture;
}

Deno.test("listRevisions pages from the newest to the oldest and names the current one", async () => {
  const device = await makeReportingDevice(database.db);
  for (const interfaces of [10, 11, 12]) await backUp(device, frrConfiguration({ interfaces }));
  const params = { deviceId: device.deviceId };
  const first = await administrator(listRevisions, { params, query: { limit: 2 } });
  assert.deepEqual(first.items.map(({ number, current }) => [number, current]), [
    [3, true],
    [2, false],
  ]);
  assert.ok(first.nextCursor);
  const query = { limit: 2, cursor: first.nextCursor };
  const second = await administrator(listRevisions, { params, query });
  assert.deepEqual(second.items.map(({ number }) => number), [1]);
  assert.equal(second.nextCursor, null);
  const [newest] = first.items;
  assert.ok(newest);
  const read = await administrator(getRevision, { params: { revisionId: newest.id } });
  assert.deepEqual(read, newest);
  const other = await administrator(listRevisions, { params, query: { capture: "startup" } });
  assert.deepEqual(other.items, []);
});

Deno.test("readRevisionText masks the secrets of every revision, the old ones as well", async () => {
  const device = await makeReportingDevice(database.db);
  const old = await backUp(device, frrConfiguration({ password: "old-secret-1", interfaces: 10 }));
  await backUp(device, frrConfiguration({ password: "new-secret-2", interfaces: 11 }));
  const text = await administrator(readRevisionText, { params: { revisionId: old.revisionId } });
  assert.match(text, /^password <secret:[a-z2-7]{5}>$/m);
  assert.doesNotMatch(text, /old-secret-1/);
  assert.match(text, /uplink 9/);
});

Deno.test("diffRevision compares with the revision before: hunks, tags, no volatile lines", async () => {
  const device = await makeReportingDevice(database.db);
  const first = await backUp(device, frrConfiguration({ password: "one-secret", time: "10:00" }));
  const second = await backUp(
    device,
    frrConfiguration({ password: "two-secret", time: "11:00", interfaces: 11 }),
  );
  const params = { revisionId: second.revisionId };
  const diff = await administrator(diffRevision, { params });
  assert.equal(diff.method, "exact");
  const removed = diff.hunks.flatMap(({ lines }) => lines.filter(({ kind }) => kind === "removed"));
  assert.equal(removed.length, 1);
  assert.match(removed[0]?.text ?? "", /^password <secret:/);
  assert.doesNotMatch(JSON.stringify(diff), /(?:one|two)-secret|Last Changed/);

  const shown = await administrator(diffRevision, { params, query: { volatile: "shown" } });
  assert.match(JSON.stringify(shown), /Last Changed: 11:00/);

  const unified = await administrator(readUnifiedDiff, { params });
  assert.match(unified, /^--- .*revision 1\n\+\+\+ .*revision 2\n@@ -\d+,\d+ \+\d+,\d+ @@\n/);
  assert.match(unified, /^\+interface eth10$/m);

  const back = await administrator(diffRevision, {
    params: { revisionId: first.revisionId },
    query: { against: second.revisionId },
  });
  assert.deepEqual([back.added, back.removed], [diff.removed, diff.added]);
  const whole = await administrator(diffRevision, { params: { revisionId: first.revisionId } });
  assert.equal(whole.removed, 0);
});

Deno.test("downloadExactRevision gives the exact bytes and leaves an audit row without them", async () => {
  const device = await makeReportingDevice(database.db);
  const text = frrConfiguration({ password: "exact-secret-3" });
  const { revisionId } = await backUp(device, text);
  const bytes = await administrator(downloadExactRevision, { params: { revisionId } });
  assert.equal(new TextDecoder().decode(bytes), text);
  const rows = await database.db.selectFrom("auditRows").selectAll()
    .where("targetId", "=", revisionId).execute();
  assert.deepEqual(rows.map(({ action, actorName }) => [action, actorName]), [
    ["revision.download_exact", "admin"],
  ]);
  const [row] = rows;
  assert.deepEqual(row?.detail, {
    deviceId: device.deviceId,
    capture: "running",
    number: 1,
    sha256: await sha256(text),
  });
});

Deno.test("decideQuarantine accepts the new baseline, which then counts as verified", async () => {
  const device = await makeReportingDevice(database.db);
  await backUp(device, frrConfiguration({ interfaces: 100 }));
  const shrunk = frrConfiguration({ interfaces: 20 });
  const held = await backUp(device, shrunk);
  const query = { deviceId: device.deviceId };
  const waiting = await administrator(listQuarantine, { query });
  assert.deepEqual(waiting.items.map(({ id }) => id), [held.revisionId]);
  const params = { deviceId: device.deviceId };
  const before = await administrator(getDeviceStatus, { params });
  assert.equal(before.lastOutcome, "quarantined");

  const { items: [accepted] } = await decide("accept", held.revisionId);
  assert.equal(accepted?.state, "accepted");
  assert.equal(accepted?.current, true);
  const after = await administrator(getDeviceStatus, { params });
  assert.equal(after.lastOutcome, "verified");
  assert.equal(after.lastVerifiedAt, before.lastAttemptAt);
  assert.equal(after.revisionId, held.revisionId);
  assert.deepEqual((await administrator(listQuarantine, { query })).items, []);
  assert.equal((await backUp(device, shrunk)).kind, "unchanged");
  await assert.rejects(decide("accept", held.revisionId), isProblem("conflict"));
});

Deno.test("decideQuarantine lets an accepted text come back without being asked about again", async () => {
  const device = await makeReportingDevice(database.db);
  const [large, small] = [{ interfaces: 100 }, { interfaces: 20 }].map(frrConfiguration);
  assert.ok(large && small);
  await backUp(device, large);
  const held = await backUp(device, small);
  assert.equal(held.kind, "quarantined");
  await decide("accept", held.revisionId);
  assert.equal((await backUp(device, large)).kind, "new");
  assert.equal((await backUp(device, small)).kind, "new");
  assert.equal((await backUp(device, large)).kind, "new");
  assert.equal((await backUp(device, small)).kind, "new");
});

Deno.test("decideQuarantine rejects: the entry waits no more, is no baseline, and may be accepted yet", async () => {
  const device = await makeReportingDevice(database.db);
  const good = await backUp(device, frrConfiguration({ interfaces: 100 }));
  const shrunk = frrConfiguration({ interfaces: 20 });
  const { revisionId } = await backUp(device, shrunk);
  await decide("reject", revisionId);
  const again = await backUp(device, shrunk);
  assert.deepEqual([again.kind, again.revisionId], ["quarantined", revisionId]);
  const params = { deviceId: device.deviceId };
  const status = await administrator(getDeviceStatus, { params });
  assert.deepEqual([status.lastOutcome, status.revisionId], ["quarantined", good.revisionId]);
  const { items } = await administrator(listQuarantine, { query: { deviceId: device.deviceId } });
  assert.deepEqual(items, []);
  await decide("accept", revisionId);
  assert.equal((await administrator(getDeviceStatus, { params })).lastOutcome, "verified");
});

Deno.test("decideQuarantine does not make current what the device has left since", async () => {
  const device = await makeReportingDevice(database.db);
  const large = frrConfiguration({ interfaces: 100 });
  const good = await backUp(device, large);
  const held = await backUp(device, frrConfiguration({ interfaces: 20 }));
  await backUp(device, large);
  const { items: [accepted] } = await decide("accept", held.revisionId);
  assert.equal(accepted?.current, false);
  const params = { revisionId: good.revisionId };
  assert.equal((await administrator(getRevision, { params })).current, true);
});

Deno.test("decideQuarantine decides about all or none", async () => {
  const devices = [await makeReportingDevice(database.db), await makeReportingDevice(database.db)];
  const held: RevisionId[] = [];
  for (const device of devices) {
    await backUp(device, frrConfiguration({ interfaces: 100 }));
    held.push((await backUp(device, frrConfiguration({ interfaces: 20 }))).revisionId);
  }
  await assert.rejects(decide("accept", ...held, newId<RevisionId>()), isProblem("not-found"));
  const good = await administrator(listRevisions, {
    params: { deviceId: devices[1]?.deviceId ?? newId() },
    query: { state: "accepted" },
  });
  await assert.rejects(
    decide("accept", ...held, ...good.items.map(({ id }) => id)),
    isProblem("conflict"),
  );
  for (const revisionId of held) {
    const { state } = await administrator(getRevision, { params: { revisionId } });
    assert.equal(state, "quarantined");
  }
  const { items } = await decide("accept", ...held);
  assert.deepEqual(items.map(({ state }) => state), ["accepted", "accepted"]);
});

Deno.test("listBackups and getDeviceStatus tell failures in plain words, and nothing of the untouched", async () => {
  const device = await makeReportingDevice(database.db);
  const params = { deviceId: device.deviceId };
  const untouched = await administrator(getDeviceStatus, { params });
  assert.deepEqual([untouched.lastOutcome, untouched.failureStreak], [null, 0]);
  await backUp(device, frrConfiguration());
  await report(plane.services, device, "half a configuration");
  const { items } = await administrator(listBackups, { params });
  assert.deepEqual(items.map(({ status }) => status), ["failed", "verified"]);
  const status = await administrator(getDeviceStatus, { params });
  assert.equal(status.lastOutcome, "failed");
  assert.equal(status.failureCode, "configuration_truncated");
  assert.equal(status.reason, items[0]?.reason);
  assert.match(status.reason ?? "", /ended before its end/);
  assert.ok(status.lastVerifiedAt);
  assert.deepEqual(status.facts, { osVersion: "10.2" });
});

Deno.test("no route tells somebody of one site about another", async () => {
  const mine = await makeReportingDevice(database.db);
  const theirs = await makeReportingDevice(database.db);
  await backUp(theirs, frrConfiguration({ interfaces: 100 }));
  const { revisionId: held } = await backUp(theirs, frrConfiguration({ interfaces: 20 }));
  const { revisionId } = await backUp(mine, frrConfiguration());
  const stranger = as({ all: false, siteIds: [mine.siteId] });
  const device = { params: { deviceId: theirs.deviceId } };
  const revision = { params: { revisionId: held } };
  const asked: (() => Promise<unknown>)[] = [
    () => stranger(getDeviceStatus, device),
    () => stranger(listBackups, device),
    () => stranger(listRevisions, device),
    () => stranger(getRevision, revision),
    () => stranger(readRevisionText, revision),
    () => stranger(downloadExactRevision, revision),
    () => stranger(diffRevision, revision),
    () => stranger(readUnifiedDiff, revision),
    () => stranger(diffRevision, { params: { revisionId }, query: { against: held } }),
    () => stranger(decideQuarantine, { body: { decision: "accept", revisionIds: [held] } }),
  ];
  for (const ask of asked) await assert.rejects(ask, isProblem("not-found"));
  const siteId: SiteId = theirs.siteId;
  assert.deepEqual((await stranger(listQuarantine, { query: { siteId } })).items, []);
  assert.equal((await stranger(getRevision, { params: { revisionId } })).siteId, mine.siteId);
});

function isProblem(type: ProblemType): (error: unknown) => boolean {
  return (error) => error instanceof ProblemError && error.type === type;
}
