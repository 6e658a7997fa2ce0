/** What people do with revisions beside reading them: what they keep, compare, take out and decide about in bulk. */
import assert from "node:assert/strict";
import { unzipSync } from "fflate";
import {
  diffDevice,
  diffRevision,
  exportConfigurations,
  getRevision,
  listRevisions,
  readUnifiedDeviceDiff,
  type Revision,
  takeRestoreMaterial,
  updateRevision,
} from "@rookery/shared/api/backups.ts";
import type { RevisionId, SiteId } from "@rookery/shared/ids.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import {
  frrConfiguration,
  makeReportingDevice,
  report,
  reportCaptures,
  type ReportingDevice,
} from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { refusedAs } from "../support/joining.ts";
import { makePerson } from "../support/people.ts";

const database = testDatabase();
const plane = testControlPlane(database);

async function backUp(device: ReportingDevice, text: string): Promise<RevisionId> {
  const recorded = await report(plane.services, device, text);
  assert.ok(recorded.ok && recorded.captures[0]);
  return recorded.captures[0].revisionId;
}

/** The details of the audit rows about a thing, oldest first. */
async function auditOf(action: string, targetId: string) {
  const rows = await database.db.selectFrom("auditRows").select(["detail", "siteId", "actorName"])
    .where("action", "=", action).where("targetId", "=", targetId).orderBy("id").execute();
  return rows.map((row) => ({ ...row, detail: row.detail as Record<string, unknown> }));
}

let people = 0;

/** Somebody who may do all with the backups of one site. */
async function keeperOf(siteId: SiteId) {
  const selector = { siteIds: [siteId] };
  return await makePerson(plane, { name: `keeper-${people++}`, actions: ["backups:*"], selector });
}

Deno.test("updateRevision pins and comments, is found by it, and leaves before and after in the audit log", async () => {
  const device = await makeReportingDevice(database.db);
  const admin = await plane.administrator();
  const revisionId = await backUp(device, frrConfiguration());
  await backUp(device, frrConfiguration({ interfaces: 11 }));
  const params = { revisionId };
  const before = await admin.call(getRevision, { params });
  assert.deepEqual([before.pinned, before.comment], [false, ""]);

  const body = { pinned: true, comment: "before the move" };
  const pinned = await admin.call(updateRevision, { params, body });
  assert.deepEqual(pinned, { ...before, ...body });
  const listed = async (query: { pinned: string }): Promise<Revision[]> => {
    const { items } = await admin.call(listRevisions, {
      params: { deviceId: device.deviceId },
      query,
    });
    return items;
  };
  assert.deepEqual(await listed({ pinned: "true" }), [pinned]);
  assert.deepEqual((await listed({ pinned: "false" })).map(({ number }) => number), [2]);

  const released = await admin.call(updateRevision, { params, body: { pinned: false } });
  assert.deepEqual([released.pinned, released.comment], [false, "before the move"]);
  const about = { deviceId: device.deviceId, capture: "running", number: 1 };
  const changes = [
    { before: { pinned: false, comment: "" }, after: body },
    { before: { pinned: true }, after: { pinned: false } },
  ];
  assert.deepEqual(
    await auditOf("revision.update", revisionId),
    changes.map((change) => ({
      detail: { ...about, ...change },
      siteId: device.siteId,
      actorName: "admin",
    })),
  );
});

Deno.test("updateRevision is refused to who only reads, and to who keeps another site's", async () => {
  const [device, elsewhere] = [
    await makeReportingDevice(database.db),
    await makeReportingDevice(database.db),
  ];
  const revisionId = await backUp(device, frrConfiguration());
  const change = { params: { revisionId }, body: { pinned: true } };
  const reader = await makePerson(plane, { name: "reader", actions: ["backups:read"] });
  await assert.rejects(reader.call(updateRevision, change), refusedAs("forbidden"));
  const stranger = await keeperOf(elsewhere.siteId);
  await assert.rejects(stranger.call(updateRevision, change), refusedAs("not-found"));
  const keeper = await keeperOf(device.siteId);
  assert.equal((await keeper.call(updateRevision, change)).pinned, true);
});

Deno.test("diffDevice compares what two devices run, and not whether they share a secret", async () => {
  const [left, right] = [
    await makeReportingDevice(database.db),
    await makeReportingDevice(database.db),
  ];
  const older = await backUp(right, frrConfiguration({ password: "shared-secret" }));
  await backUp(left, frrConfiguration({ interfaces: 9, password: "left-secret" }));
  await backUp(left, frrConfiguration({ interfaces: 11, password: "shared-secret" }));
  const admin = await plane.administrator();
  const asked = { params: { deviceId: left.deviceId }, query: { against: right.deviceId } };
  const diff = await admin.call(diffDevice, asked);
  assert.deepEqual([diff.added, diff.removed], [4, 0]);
  assert.doesNotMatch(JSON.stringify(diff), /shared-secret|<secret:/);
  const unified = await admin.call(readUnifiedDeviceDiff, asked);
  const [from, to] = unified.split("\n");
  assert.equal(from, `--- ${right.deviceId}/running revision 1`);
  assert.equal(to, `+++ ${left.deviceId}/running revision 2`);
  assert.match(unified, /^\+interface eth10$/m);

  await backUp(right, frrConfiguration({ interfaces: 11, password: "quite-another" }));
  assert.deepEqual((await admin.call(diffDevice, asked)).hunks, []);
  const old = { params: { revisionId: older }, query: { against: older } };
  assert.deepEqual((await admin.call(diffRevision, old)).hunks, []);
});

Deno.test("diffDevice shows what runs and is not saved", async () => {
  const device = await makeReportingDevice(database.db);
  const startup = frrConfiguration({ password: "saved-one" });
  const running = frrConfiguration({ interfaces: 11, password: "not-saved" });
  await reportCaptures(plane.services, device, { running, startup });
  const admin = await plane.administrator();
  const params = { deviceId: device.deviceId };
  const query = { againstCapture: "startup", context: 0 };
  const { hunks } = await admin.call(diffDevice, { params, query });
  // frr has no capture of this name, and so no rules of what the device says before the text.
  const lines = hunks.flatMap(({ lines }) => lines)
    .filter(({ text }) => /^(?:password|interface) /.test(text));
  const untagged = (text: string) => text.replace(/:[a-z2-7]{5}>$/, ":tag>");
  assert.deepEqual(lines.map(({ kind, text }) => [kind, untagged(text)]), [
    ["removed", "password <secret:tag>"],
    ["added", "password <secret:tag>"],
    ["added", "interface eth10"],
  ]);
  assert.notEqual(lines[0]?.text, lines[1]?.text);
  await assert.rejects(
    admin.call(diffDevice, { params, query: { againstCapture: "factory" } }),
    refusedAs("not-found"),
  );
  await assert.rejects(admin.call(diffDevice, { params, query: {} }), refusedAs("validation"));
});

Deno.test("diffDevice is for who sees both devices", async () => {
  const [mine, theirs] = [
    await makeReportingDevice(database.db),
    await makeReportingDevice(database.db),
  ];
  for (const device of [mine, theirs]) await backUp(device, frrConfiguration());
  const keeper = await keeperOf(mine.siteId);
  for (const [one, other] of [[mine, theirs], [theirs, mine]] as const) {
    const asked = { params: { deviceId: one.deviceId }, query: { against: other.deviceId } };
    await assert.rejects(keeper.call(diffDevice, asked), refusedAs("not-found"));
    await assert.rejects(keeper.call(readUnifiedDeviceDiff, asked), refusedAs("not-found"));
  }
});

Deno.test("takeRestoreMaterial gives the text with its secrets, the procedure, and an audit row without either", async () => {
  const device = await makeReportingDevice(database.db);
  const text = frrConfiguration({ password: "restore-me-please" });
  const revisionId = await backUp(device, text);
  const admin = await plane.administrator();
  const params = { revisionId };
  const material = await admin.call(takeRestoreMaterial, { params });
  const begin = text.indexOf("Current configuration:");
  assert.ok(begin > 0);
  assert.equal(material.text, text.slice(begin));
  assert.equal(material.encoding, "utf-8");
  assert.match(material.procedure, /\/etc\/frr\/frr\.conf .*systemctl reload frr\.$/);
  assert.equal(material.fileName, `${device.deviceId}-running-1.cfg`);
  assert.equal(material.device.host, `${device.deviceId}.test`);
  assert.deepEqual(material.revision, await admin.call(getRevision, { params }));
  const { deviceId, siteId } = device;
  const { capture, number, sha256 } = material.revision;
  assert.deepEqual(await auditOf("revision.restore_material", revisionId), [
    { detail: { deviceId, capture, number, sha256 }, siteId, actorName: "admin" },
  ]);
});

Deno.test("takeRestoreMaterial says in which encoding a device gets its bytes back", async () => {
  const device = await makeReportingDevice(database.db);
  const bytes = Uint8Array.from(
    frrConfiguration().replace("uplink 1\n", "Zürich\n"),
    (character) => character.charCodeAt(0),
  );
  const recorded = await report(plane.services, device, bytes);
  assert.ok(recorded.ok && recorded.captures[0]);
  const { revisionId } = recorded.captures[0];
  const admin = await plane.administrator();
  const material = await admin.call(takeRestoreMaterial, { params: { revisionId } });
  assert.equal(material.encoding, "latin-1");
  assert.match(material.text, /^ description Zürich$/m);
});

Deno.test("takeRestoreMaterial is refused to who reads masked texts only, and leaves no audit row", async () => {
  const device = await makeReportingDevice(database.db);
  const revisionId = await backUp(device, frrConfiguration());
  const reader = await makePerson(plane, {
    name: "masked-reader",
    actions: ["backups:read", "backups:write", "devices:read"],
  });
  const asked = { params: { revisionId } };
  await assert.rejects(reader.call(takeRestoreMaterial, asked), refusedAs("forbidden"));
  assert.deepEqual(await auditOf("revision.restore_material", revisionId), []);
});

Deno.test("exportConfigurations zips what is current, secrets masked, and its index tells what is not there", async () => {
  const first = await makeReportingDevice(database.db);
  const { siteId } = first;
  const [second, untouched, lost] = [
    await makeReportingDevice(database.db, { siteId }),
    await makeReportingDevice(database.db, { siteId }),
    await makeReportingDevice(database.db, { siteId }),
  ];
  await database.db.updateTable("devices").set({ name: "../=up" })
    .where("id", "=", second.deviceId).execute();
  await backUp(first, frrConfiguration({ interfaces: 10 }));
  await backUp(first, frrConfiguration({ interfaces: 12, password: "export-secret" }));
  await backUp(second, frrConfiguration({ interfaces: 5 }));
  const gone = await backUp(lost, frrConfiguration({ interfaces: 7 }));
  const admin = await plane.administrator();
  const { sha256 } = await admin.call(getRevision, { params: { revisionId: gone } });
  await database.sql`delete from blobs where site_id = ${siteId} and sha256 = ${sha256}`;

  const devices = [first, second, untouched, lost];
  const deviceIds = devices.map(({ deviceId }) => deviceId);
  const zip = unzipSync(await admin.call(exportConfigurations, { body: { deviceIds } }));
  const text = (name: string) => new TextDecoder().decode(zip[name]);
  const folder = `site-${siteId}`;
  const names = ["_.__up-running-1", `${first.deviceId}-running-2`]
    .map((name) => `${folder}/${name}.masked.cfg`);
  assert.deepEqual(Object.keys(zip).sort(), ["index.csv", ...names].sort());
  assert.match(text(names[1] ?? ""), /^password <secret:[a-z2-7]{5}>$/m);
  assert.match(text(names[1] ?? ""), /^interface eth11$/m);
  const index = text("index.csv");
  assert.match(index, new RegExp(`,${lost.deviceId},running,1,.*,,it is gone from the database\r`));
  assert.match(index, new RegExp(`,${untouched.deviceId},,,,,,there is no configuration yet\r`));
  assert.equal(index.trim().split("\r\n").length, 5);

  const [row, ...more] = await auditOf("configurations.export", siteId);
  assert.deepEqual(more, []);
  assert.equal(row?.siteId, siteId);
  assert.deepEqual(new Set(row?.detail.deviceIds as string[]), new Set(deviceIds));
});

Deno.test("exportConfigurations reads each configuration only when the reader comes to it", async () => {
  const siteId = newId<SiteId>();
  const devices: ReportingDevice[] = [];
  for (let n = 0; n < 30; n++) {
    const device = await makeReportingDevice(database.db, { siteId });
    devices.push(device);
    // What does not compress, so that each file is more than what streams hold back.
    const noise = Array.from({ length: 3_000 }, () => ` description ${crypto.randomUUID()}\n`);
    await backUp(device, frrConfiguration().replace("exit\n", `${noise.join("")}exit\n`));
  }
  const { cookie } = await plane.administrator();
  const body = JSON.stringify({ deviceIds: devices.map(({ deviceId }) => deviceId) });
  const headers = { cookie, origin: plane.publicUrl, "content-type": "application/json" };
  const ask = () => plane.fetch("/api/v1/configuration-exports", { method: "POST", headers, body });
  const reply = await ask();
  assert.equal(reply.headers.get("content-type"), "application/zip");
  const reader = reply.body?.getReader() ?? assert.fail();
  const pieces = [(await reader.read()).value ?? assert.fail()];
  await database.sql`delete from blobs where site_id = ${siteId}`;
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    pieces.push(next.value);
  }
  const files = Object.keys(unzipSync(new Uint8Array(await new Blob(pieces).arrayBuffer())));
  assert.ok(files.length >= 2 && files.length <= 5, `${files.length} files had been read`);
  await (await ask()).body?.cancel();
});

Deno.test("exportConfigurations is of devices that the caller sees, all or none", async () => {
  const [mine, theirs] = [
    await makeReportingDevice(database.db),
    await makeReportingDevice(database.db),
  ];
  for (const device of [mine, theirs]) await backUp(device, frrConfiguration());
  const keeper = await keeperOf(mine.siteId);
  const ask = (...devices: ReportingDevice[]) =>
    keeper.call(exportConfigurations, {
      body: { deviceIds: devices.map(({ deviceId }) => deviceId) },
    });
  await assert.rejects(ask(mine, theirs), refusedAs("not-found"));
  assert.deepEqual(await auditOf("configurations.export", mine.siteId), []);
  assert.equal(Object.keys(unzipSync(await ask(mine))).length, 2);
});
