import assert from "node:assert/strict";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { type DeviceId, Sha256 } from "@rookery/shared/ids.ts";
import { lockDeviceStatus } from "../../control-plane/backups/device_status.ts";
import { readExact } from "../../control-plane/backups/render_text.ts";
import { startTexts } from "../../control-plane/backups/texts.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { makeKeys } from "../../control-plane/keys/key_file.ts";
import { openKeyRing } from "../../control-plane/keys/key_ring.ts";
import { until } from "../support/agent_bench.ts";
import { frrConfiguration, makeReportingDevice, report } from "../support/backup_report.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const keyRing = await openKeyRing(await makeKeys());
const texts = startTexts();
const to = {
  get db() {
    return database.db;
  },
  keyRing,
  texts,
};
Deno.test.afterAll(() => texts[Symbol.dispose]());

Deno.test("recordBackup() files the first configuration as a revision with its exact bytes", async () => {
  const device = await makeReportingDevice(database.db);
  const text = frrConfiguration();
  const recorded = await report(to, device, text);
  assert.ok(recorded.ok);
  assert.deepEqual(recorded.captures.map(({ kind }) => kind), ["new"]);
  const [revision] = await revisionsOf(device.deviceId);
  assert.ok(revision);
  assert.equal(revision.number, 1);
  assert.equal(revision.state, "accepted");
  assert.equal(revision.backupId, recorded.backupId);
  const bytes = await readExact(database.db, {
    keyRing,
    ...revision,
    rawSha256: await sha256(text),
  });
  assert.equal(new TextDecoder().decode(bytes), text);
  const status = await statusOf(device.deviceId);
  assert.equal(status.lastOutcome, "verified");
  assert.equal(status.revisionId, revision.id);
  assert.equal(status.grade, "marker");
  assert.deepEqual(status.facts, { osVersion: "10.2" });
  assert.ok(status.lastVerifiedAt);
  const [backup] = await backupsOf(device.deviceId);
  assert.ok(Array.isArray(backup?.captures));
});

Deno.test("recordBackup() lets a volatile line make no revision, and an unchanged one last longer", async () => {
  const device = await makeReportingDevice(database.db);
  await report(to, device, frrConfiguration());
  const [before] = await revisionsOf(device.deviceId);
  const again = await report(to, device, frrConfiguration({ time: "2026-02-02 02:02:02" }));
  assert.ok(again.ok);
  assert.equal(again.captures[0]?.kind, "unchanged");
  const revisions = await revisionsOf(device.deviceId);
  assert.equal(revisions.length, 1);
  assert.ok(before && revisions[0]);
  assert.ok(Temporal.Instant.compare(revisions[0].lastSeenAt, before.lastSeenAt) > 0);
  assert.equal((await backupsOf(device.deviceId)).length, 2);
});

Deno.test("recordBackup() calls it unchanged when only what comes before the configuration differs", async () => {
  const device = await makeReportingDevice(database.db);
  const greeted = (time: string) => `Welcome, it is ${time}\n${frrConfiguration()}`;
  await report(to, device, greeted("10:00"));
  const again = await report(to, device, greeted("10:01"));
  assert.ok(again.ok);
  assert.equal(again.captures[0]?.kind, "unchanged");
  assert.match(await currentText(device.deviceId), /^Welcome, it is 10:00$/m);
});

Deno.test("recordBackup() files a digest that returns as a new revision of the same bytes", async () => {
  const device = await makeReportingDevice(database.db);
  const first = frrConfiguration({ interfaces: 10 });
  await report(to, device, first);
  await report(to, device, frrConfiguration({ interfaces: 11 }));
  const back = await report(to, device, first, { upload: false });
  assert.ok(back.ok);
  assert.equal(back.captures[0]?.kind, "new");
  const revisions = await revisionsOf(device.deviceId);
  assert.deepEqual(revisions.map(({ number }) => number), [1, 2, 3]);
  assert.equal(revisions[2]?.rawSha256, revisions[0]?.rawSha256);
  assert.equal((await statusOf(device.deviceId)).revisionId, revisions[2]?.id);
  assert.match(await currentText(device.deviceId), /eth9/);
  assert.doesNotMatch(await currentText(device.deviceId), /eth10/);
});

Deno.test("examineBackup() takes an unchanged report without bytes, of a digest the device has had", async () => {
  const device = await makeReportingDevice(database.db);
  const text = frrConfiguration();
  const says = { unchanged: true };
  const unknown = await report(to, device, text, { says, upload: false });
  assert.ok(!unknown.ok);
  assert.equal(unknown.failure.code, "blob_missing");
  await report(to, device, text);
  const known = await report(to, device, text, { says, upload: false });
  assert.ok(known.ok);
  assert.equal(known.captures[0]?.kind, "unchanged");
});

Deno.test("examineBackup() refuses each number that does not fit the bytes that arrived", async () => {
  const device = await makeReportingDevice(database.db);
  const other = await sha256("another text");
  const wrong = [
    { grade: "prompt" },
    { normalisedSha256: other },
    { bytes: 7 },
    { lines: 7 },
  ] as const;
  for (const says of wrong) {
    const refused = await report(to, device, frrConfiguration(), { says });
    assert.ok(!refused.ok);
    assert.equal(refused.failure.code, "result_invalid");
    assert.ok(refused.failure.detail.includes(Object.keys(says)[0] ?? "?"), refused.failure.detail);
  }
  const renamed = await report(to, device, frrConfiguration(), { says: { name: "startup" } });
  assert.ok(!renamed.ok && renamed.failure.code === "result_invalid");
  assert.equal((await revisionsOf(device.deviceId)).length, 0);
});

Deno.test("examineBackup() judges completeness again: half a configuration is no success", async () => {
  const device = await makeReportingDevice(database.db);
  const text = frrConfiguration();
  const cases = [
    [text.slice(0, text.length / 2), "configuration_truncated"],
    [text.replace("frr version 10.2\n", ""), "configuration_too_short"],
    [text.replace("uplink 1", "uplink \0"), "configuration_binary"],
    [" \n\n", "configuration_empty"],
  ] as const;
  for (const [part, code] of cases) {
    const refused = await report(to, device, part);
    assert.ok(!refused.ok);
    assert.equal(refused.failure.code, code);
  }
  assert.equal((await revisionsOf(device.deviceId)).length, 0);
  const status = await statusOf(device.deviceId);
  assert.equal(status.lastOutcome, "failed");
  assert.equal(status.failureStreak, 4);
  assert.equal(status.lastVerifiedAt, null);
});

Deno.test("examineBackup() refuses a configuration larger than the device's limit", async () => {
  const device = await makeReportingDevice(database.db);
  await database.db.updateTable("devices").set({ maxBytes: 1_024 })
    .where("id", "=", device.deviceId).execute();
  const refused = await report(to, device, frrConfiguration({ interfaces: 100 }));
  assert.ok(!refused.ok);
  assert.equal(refused.failure.code, "configuration_too_large");
  assert.equal((await revisionsOf(device.deviceId)).length, 0);
});

Deno.test("examineBackup() refuses bytes that arrived under another lease or of another device", async () => {
  const device = await makeReportingDevice(database.db);
  const neighbour = await makeReportingDevice(database.db, { siteId: device.siteId });
  const text = frrConfiguration({ password: "of-the-neighbour" });
  assert.ok((await report(to, neighbour, text)).ok);
  const stolen = await report(to, device, text, { upload: false });
  assert.ok(!stolen.ok);
  assert.equal(stolen.failure.code, "blob_missing");
  const claimed = await report(to, device, text, { upload: false, says: { unchanged: true } });
  assert.ok(!claimed.ok);
  assert.equal(claimed.failure.code, "blob_missing");
});

Deno.test("recordBackup() quarantines what shrank, once per digest, and the age goes on growing", async () => {
  const device = await makeReportingDevice(database.db);
  await report(to, device, frrConfiguration({ interfaces: 100 }));
  const { lastVerifiedAt } = await statusOf(device.deviceId);
  const shrunk = frrConfiguration({ interfaces: 20 });
  const first = await report(to, device, shrunk, { says: { confirmedShrunk: true } });
  const again = await report(to, device, shrunk, { says: { confirmedShrunk: true } });
  assert.ok(first.ok && again.ok);
  assert.equal(first.status, "quarantined");
  assert.equal(again.captures[0]?.revisionId, first.captures[0]?.revisionId);
  const revisions = await revisionsOf(device.deviceId);
  assert.deepEqual(revisions.map(({ state }) => state), ["accepted", "quarantined"]);
  const status = await statusOf(device.deviceId);
  assert.equal(status.lastOutcome, "quarantined");
  assert.equal(String(status.lastVerifiedAt), String(lastVerifiedAt));
  assert.equal(status.revisionId, revisions[0]?.id);
  assert.match(await currentText(device.deviceId), /eth99/);

  const whole = await report(to, device, frrConfiguration({ interfaces: 100 }));
  assert.ok(whole.ok);
  assert.equal(whole.captures[0]?.kind, "unchanged");
  assert.equal((await statusOf(device.deviceId)).lastOutcome, "verified");
});

Deno.test("recordBackup() takes a quarantined digest when the site's threshold allows it", async () => {
  const device = await makeReportingDevice(database.db);
  await report(to, device, frrConfiguration({ interfaces: 100 }));
  const shrunk = frrConfiguration({ interfaces: 20 });
  const held = await report(to, device, shrunk);
  await database.db.updateTable("sites").set({ shrinkPercent: 95 })
    .where("id", "=", device.siteId).execute();
  const taken = await report(to, device, shrunk);
  assert.ok(held.ok && taken.ok);
  assert.equal(taken.captures[0]?.kind, "new");
  assert.equal(taken.captures[0]?.revisionId, held.captures[0]?.revisionId);
  assert.deepEqual(
    (await revisionsOf(device.deviceId)).map(({ state }) => state),
    ["accepted", "accepted"],
  );
});

Deno.test("recordBackup() files a late report under its own time and does not make it current", async () => {
  const device = await makeReportingDevice(database.db);
  const before = Temporal.Now.instant().subtract({ hours: 1 }).round("second");
  await report(to, device, frrConfiguration({ interfaces: 11 }));
  const known = await statusOf(device.deviceId);
  const late = await report(to, device, frrConfiguration({ interfaces: 10 }), {
    attempt: { late: true, capturedAt: before },
  });
  assert.ok(late.ok);
  assert.equal(late.captures[0]?.kind, "new");
  assert.match(await currentText(device.deviceId), /eth10/);
  const after = await statusOf(device.deviceId);
  assert.equal(after.revisionId, known.revisionId);
  assert.equal(String(after.lastAttemptAt), String(known.lastAttemptAt));
  const filed = (await revisionsOf(device.deviceId)).find(({ number }) => number === 2);
  assert.equal(String(filed?.lastSeenAt), String(before));
});

Deno.test("recordBackup() files a superseded report by its digest and changes no state", async () => {
  const device = await makeReportingDevice(database.db);
  await report(to, device, frrConfiguration({ interfaces: 10 }));
  const known = await statusOf(device.deviceId);
  const text = await currentText(device.deviceId);
  const superseded = await report(to, device, frrConfiguration({ interfaces: 12 }), {
    attempt: { superseded: true },
  });
  assert.ok(superseded.ok);
  assert.equal(JSON.stringify(await statusOf(device.deviceId)), JSON.stringify(known));
  assert.equal(await currentText(device.deviceId), text);
  assert.equal((await revisionsOf(device.deviceId)).length, 2);
  const failed = await report(to, device, "nothing", { attempt: { superseded: true } });
  assert.ok(!failed.ok);
  assert.equal(JSON.stringify(await statusOf(device.deviceId)), JSON.stringify(known));
});

Deno.test("recordBackup() takes the first text for one revision although a superseded report brought it before", async () => {
  const device = await makeReportingDevice(database.db);
  const configuration = frrConfiguration({ interfaces: 10 });
  await report(to, device, configuration, { attempt: { superseded: true } });
  await report(to, device, configuration);
  const revisions = await revisionsOf(device.deviceId);
  assert.deepEqual(revisions.map(({ state }) => state), ["accepted"]);
  const current = await database.db.selectFrom("currentTexts").select("revisionId")
    .where("deviceId", "=", device.deviceId).executeTakeFirstOrThrow();
  assert.equal(current.revisionId, revisions[0]?.id);
});

Deno.test("recordBackup() files reports of one device one after the other", async () => {
  const device = await makeReportingDevice(database.db);
  const reports = await Promise.all(
    Array.from(
      { length: 4 },
      (_, n) => report(to, device, frrConfiguration({ interfaces: 10 + n })),
    ),
  );
  assert.ok(reports.every(({ ok }) => ok));
  const numbers = (await revisionsOf(device.deviceId)).map(({ number }) => number);
  assert.deepEqual(numbers, [1, 2, 3, 4]);
  const current = await database.db.selectFrom("currentTexts").select("revisionId")
    .where("deviceId", "=", device.deviceId).executeTakeFirstOrThrow();
  const newest = (await revisionsOf(device.deviceId)).at(-1);
  assert.equal(current.revisionId, newest?.id);
});

/** Holds the status of a device while another transaction wants it; the times that each of them was given. */
async function contend(device: Awaited<ReturnType<typeof makeReportingDevice>>) {
  const { db, sql } = database;
  const held = Promise.withResolvers<void>();
  const waited = Promise.withResolvers<void>();
  const first = inTransaction(db, async (tx) => {
    const at = await lockDeviceStatus(tx, device);
    held.resolve();
    await waited.promise;
    return at;
  });
  await held.promise;
  const second = inTransaction(db, (tx) => lockDeviceStatus(tx, device));
  await until(async () => {
    const rows = await sql`select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`;
    return rows.length > 0;
  }, "the second one waits for the first");
  const [{ now } = assert.fail()] = await sql<{ now: Temporal.Instant }[]>`
    select clock_timestamp() as now`;
  waited.resolve();
  return { now, first: await first, second: await second };
}

Deno.test("lockDeviceStatus() reads the clock behind its lock: whoever waited has the later time", async () => {
  const device = await makeReportingDevice(database.db);
  // The first round makes the row, the second one finds it: there the first transaction changes nothing of it.
  for (const round of ["made", "found"]) {
    const { now, first, second } = await contend(device);
    assert.ok(Temporal.Instant.compare(first, now) < 0, round);
    assert.ok(Temporal.Instant.compare(second, now) > 0, `${round}: ${second} came before ${now}`);
  }
});

Deno.test("examineBackup() calls it unchanged when only the rules of change are younger than the digest", async () => {
  const device = await makeReportingDevice(database.db);
  await report(to, device, frrConfiguration());
  const [revision] = await revisionsOf(device.deviceId);
  assert.ok(revision);
  const older = await sha256("by the rules of before");
  await database.db.updateTable("revisions").set({ normalisedSha256: older })
    .where("id", "=", revision.id).execute();
  const again = await report(to, device, frrConfiguration({ time: "2026-03-03 03:03:03" }));
  assert.ok(again.ok);
  assert.equal(again.captures[0]?.kind, "unchanged");
  const revisions = await revisionsOf(device.deviceId);
  assert.equal(revisions.length, 1);
  assert.equal(revisions[0]?.normalisedSha256, revision.normalisedSha256);
});

Deno.test("redacted texts tag a secret by device: stable on one, different on another, new when it changes", async () => {
  const device = await makeReportingDevice(database.db);
  const other = await makeReportingDevice(database.db, { siteId: device.siteId });
  const tagAfter = async (of: typeof device, password: string, interfaces: number) => {
    await report(to, of, frrConfiguration({ password, interfaces }));
    return /^password <secret:([a-z2-7]{5})>$/m.exec(await currentText(of.deviceId))?.[1];
  };
  const tag = await tagAfter(device, "shared-password", 10);
  assert.ok(tag);
  assert.equal(await tagAfter(device, "shared-password", 11), tag);
  assert.notEqual(await tagAfter(device, "changed-password", 12), tag);
  assert.notEqual(await tagAfter(other, "shared-password", 10), tag);
});

Deno.test("no table holds a secret of a configuration that was backed up", async () => {
  const device = await makeReportingDevice(database.db);
  const password = "nobody-may-read-this-9";
  assert.ok((await report(to, device, frrConfiguration({ password, interfaces: 13 }))).ok);
  const dump = await dumpTables();
  assert.ok(dump.includes("description uplink 12"), "the dump shows the redacted text");
  const bytes = new TextEncoder().encode(password);
  for (const form of [password, bytes.toHex(), bytes.toBase64().slice(0, -4)]) {
    assert.ok(!dump.includes(form), "a secret is in the dump");
  }
});

Deno.test("readExact() refuses a blob that was altered, or put in another one's place", async () => {
  const device = await makeReportingDevice(database.db);
  await report(to, device, frrConfiguration({ interfaces: 10 }));
  await report(to, device, frrConfiguration({ interfaces: 11 }));
  const [first, second] = await revisionsOf(device.deviceId);
  assert.ok(first && second);
  const blob = (sha: string) =>
    database.db.selectFrom("blobs").selectAll().where("siteId", "=", device.siteId)
      .where("sha256", "=", sha).executeTakeFirstOrThrow();
  const { sha256: _name, ...content } = await blob(second.rawSha256);
  await database.db.updateTable("blobs").set(content)
    .where("siteId", "=", device.siteId).where("sha256", "=", first.rawSha256).execute();
  const read = async (sha: string) =>
    await readExact(database.db, { keyRing, ...device, rawSha256: Sha256.parse(sha) });
  await assert.rejects(read(first.rawSha256), /altered, or sealed for another row/);
  assert.ok((await read(second.rawSha256)).length > 0);
  const ciphertext = Uint8Array.from((await blob(second.rawSha256)).ciphertext);
  ciphertext[0] = (ciphertext[0] ?? 0) ^ 1;
  await database.db.updateTable("blobs").set({ ciphertext })
    .where("siteId", "=", device.siteId).where("sha256", "=", second.rawSha256).execute();
  await assert.rejects(read(second.rawSha256), /altered, or sealed for another row/);
  await assert.rejects(read(await sha256("never stored")), /none of that digest/);
});

async function revisionsOf(deviceId: DeviceId) {
  return await database.db.selectFrom("revisions").selectAll()
    .where("deviceId", "=", deviceId).orderBy("number").execute();
}

async function backupsOf(deviceId: DeviceId) {
  return await database.db.selectFrom("backups").selectAll()
    .where("deviceId", "=", deviceId).orderBy("id").execute();
}

async function statusOf(deviceId: DeviceId) {
  return await database.db.selectFrom("deviceStatus").selectAll()
    .where("deviceId", "=", deviceId).executeTakeFirstOrThrow();
}

async function currentText(deviceId: DeviceId): Promise<string> {
  const row = await database.db.selectFrom("currentTexts").select("text")
    .where("deviceId", "=", deviceId).executeTakeFirstOrThrow();
  return row.text;
}

/** Every row of every table as text, bytea in hexadecimal. */
async function dumpTables(): Promise<string> {
  const tables = await database.sql<{ name: string }[]>`
    select quote_ident(table_name) as name from information_schema.tables
    where table_schema = 'public' and table_type = 'BASE TABLE'`;
  const texts = await Promise.all(
    tables.map(({ name }) =>
      database.sql.unsafe<{ text: string }[]>(`select t::text as text from ${name} t`)
    ),
  );
  return texts.flat().map(({ text }) => text).join("\n");
}
