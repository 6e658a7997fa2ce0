/** What retention takes and what it never takes, and that contents go only when nobody can want them any more. */
import assert from "node:assert/strict";
import { listRevisions, readRevisionText, updateRevision } from "@rookery/shared/api/backups.ts";
import { applyRetention, previewRetention } from "@rookery/shared/api/retention.ts";
import { updateSettings } from "@rookery/shared/api/settings.ts";
import { cancelTask, getTask, listTaskLog } from "@rookery/shared/api/tasks.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { LeaseId } from "@rookery/shared/ids.ts";
import { putBlob, readBlob } from "../../control-plane/backups/blob_store.ts";
import { sweepBlobs } from "../../control-plane/backups/orphaned_blobs.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import { runTasks } from "../../control-plane/tasks/run_tasks.ts";
import { until } from "../support/agent_bench.ts";
import {
  frrConfiguration,
  makeReportingDevice,
  report,
  type ReportingDevice,
} from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { refusedAs } from "../support/joining.ts";
import { makePerson } from "../support/people.ts";

const database = testDatabase();
const plane = testControlPlane(database);

async function backUp(device: ReportingDevice, interfaces: number) {
  // Two devices have no content in common, as the settings of one site are those of another by chance only.
  const text = frrConfiguration({ interfaces, password: device.deviceId });
  const recorded = await report(plane.services, device, text);
  assert.ok(recorded.ok && recorded.captures[0]);
  return { ...recorded.captures[0], sha256: await sha256(text) };
}

/** A device that was backed up so often, each time with more; all of it was last seen so long ago. */
async function oldDevice(times: number, daysAgo = 100) {
  const device = await makeReportingDevice(database.db);
  const made = [];
  for (let n = 0; n < times; n++) made.push(await backUp(device, 10 + n));
  await grow(device, daysAgo);
  return { device, made };
}

async function grow({ deviceId }: ReportingDevice, days: number) {
  await database
    .sql`update revisions set last_seen_at = last_seen_at - make_interval(days => ${days}),
    first_seen_at = first_seen_at - make_interval(days => ${days}) where device_id = ${deviceId}`;
}

async function keep(last: number, days: number) {
  const admin = await plane.administrator();
  const body = { "retention.revisions_last": last, "retention.revisions_days": days };
  await admin.call(updateSettings, { body });
}

async function numbersOf({ deviceId }: ReportingDevice): Promise<number[]> {
  const admin = await plane.administrator();
  const { items } = await admin.call(listRevisions, { params: { deviceId } });
  return items.map(({ number }) => number);
}

/** Runs retention to its end, and returns what it says of it. */
async function applyNow(): Promise<string[]> {
  const admin = await plane.administrator();
  const { id: taskId } = await admin.call(applyRetention, { body: {} });
  const stop = new AbortController();
  const running = runTasks(plane.services, { signal: stop.signal, pollMs: 20 });
  const read = () => admin.call(getTask, { params: { taskId } });
  await until(async () => (await read()).endedAt !== null, "retention has ended");
  stop.abort();
  await running;
  assert.deepEqual([(await read()).state, (await read()).error], ["completed", null]);
  const log = await admin.call(listTaskLog, { params: { taskId }, query: {} });
  return log.items.filter(({ event }) => event === "found").map(({ detail }) => detail ?? "");
}

Deno.test("retention takes what the preview counts, and leaves the newest, the young, the pinned and the undecided", async () => {
  const admin = await plane.administrator();
  const { device, made } = await oldDevice(8);
  const [first] = made;
  assert.ok(first);
  const pin = { params: { revisionId: first.revisionId }, body: { pinned: true } };
  await admin.call(updateRevision, pin);
  const held = await backUp(device, 1);
  assert.equal(held.kind, "quarantined");
  await grow(device, 1);
  await database.sql`update revisions set last_seen_at = now()
    where device_id = ${device.deviceId} and number = 3`;
  const { device: young } = await oldDevice(4, 5);

  await keep(2, 30);
  const preview = await admin.call(previewRetention, {});
  assert.deepEqual([preview.last, preview.days, preview.revisions, preview.devices], [2, 30, 4, 1]);
  assert.ok(preview.bytes > 4 * 300);
  const wider = await admin.call(previewRetention, { query: { last: 5, days: 30 } });
  assert.equal(wider.revisions, 1);

  assert.deepEqual(await applyNow(), ["4 revisions and 0 stored contents deleted"]);
  assert.deepEqual(await numbersOf(device), [9, 8, 7, 3, 1]);
  assert.deepEqual(await numbersOf(young), [4, 3, 2, 1]);
  assert.equal((await admin.call(previewRetention, {})).revisions, 0);
  const text = await admin.call(readRevisionText, { params: { revisionId: first.revisionId } });
  assert.match(text, /^interface eth9$/m);
  const rows = await database.sql`select actor_name, detail from audit_rows
    where action = 'revisions.expire' and site_id = ${device.siteId}`;
  const gone = made.filter((_, index) => [1, 3, 4, 5].includes(index));
  assert.deepEqual(rows.map((row) => [row.actor_name, row.detail.orderedBy]), [
    ["retention", "admin"],
  ]);
  assert.deepEqual(
    new Set(rows[0]?.detail.revisionIds),
    new Set(gone.map(({ revisionId }) => revisionId)),
  );
});

Deno.test("retention never takes the current revision, however old, even where it is not the newest", async () => {
  const { device } = await oldDevice(3, 2_000);
  // As after a late report: what the device was seen with last is not what was filed last.
  await database.sql`update current_texts set revision_id = (select id from revisions
    where device_id = ${device.deviceId} and number = 1) where device_id = ${device.deviceId}`;
  await keep(1, 1);
  await applyNow();
  assert.deepEqual(await numbersOf(device), [3, 1]);
});

Deno.test("retention leaves a device alone while it is being read", async () => {
  const { device: { siteId, deviceId }, device } = await oldDevice(4);
  await database.sql`
    insert into leases (site_id, device_id, job_id, id, kind, epoch, agent_id, boot_id, claim_id,
      offer_until, deadline_at, rank, due_at, offset_seconds, fails, session_losses)
    values (${siteId}, ${deviceId}, ${newId()}, ${newId()}, 'backup_config', 1, ${newId()},
      ${newId()}, ${newId()}, now(), now() + interval '1 hour', now(), now(), 0, 0, 0)`;
  await keep(1, 1);
  await applyNow();
  assert.deepEqual(await numbersOf(device), [4, 3, 2, 1]);
  await database.sql`delete from leases where device_id = ${deviceId}`;
  await applyNow();
  assert.deepEqual(await numbersOf(device), [4]);
});

/** What is stored under these digests. */
async function stored(digests: readonly string[]): Promise<string[]> {
  const rows = await database.sql`select sha256 from blobs where sha256 = any(${[...digests]})`;
  return digests.filter((digest) => rows.some((row) => row.sha256 === digest));
}

/** As if this had been marked a week and a day ago. */
async function letMarksAge() {
  await database.sql`update blobs set orphaned_at = orphaned_at - interval '8 days'`;
}

Deno.test("a content goes a week after its last revision, and never while another revision has it", async () => {
  const device = await makeReportingDevice(database.db);
  const [a, b] = [await backUp(device, 10), await backUp(device, 11)];
  // The first text again: a new revision of the same content.
  assert.equal((await backUp(device, 10)).kind, "new");
  await backUp(device, 12);
  await grow(device, 100);
  await keep(2, 30);
  await applyNow();
  assert.deepEqual(await numbersOf(device), [4, 3]);
  await applyNow();
  assert.deepEqual(await stored([a.sha256, b.sha256]), [a.sha256, b.sha256]);
  await letMarksAge();
  assert.match((await applyNow()).join(), /^0 revisions and [1-9]\d* stored contents deleted$/);
  assert.deepEqual(await stored([a.sha256, b.sha256]), [a.sha256]);
});

Deno.test("a content that is uploaded while it is being deleted is there after, and stays", async () => {
  const device = await makeReportingDevice(database.db);
  const { siteId } = device;
  const bytes = new TextEncoder().encode(frrConfiguration({ password: "comes back" }));
  const blob = { ...plane.services, siteId, bytes, sha256: await sha256(bytes) };
  const upload = () => putBlob(database.db, { ...blob, leaseId: newId<LeaseId>() });
  const sweep = (tx: Parameters<typeof sweepBlobs>[0]) =>
    sweepBlobs(tx, { after: null, limit: 10_000 });
  await upload();
  await database.db.transaction().execute(sweep);
  await letMarksAge();
  let again: Promise<void> | undefined;
  await database.db.transaction().execute(async (tx) => {
    assert.ok((await sweep(tx)).deleted >= 1);
    again = upload();
    const waits = () =>
      database.sql`select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`;
    await until(async () => (await waits()).length > 0, "the upload waits for the deletion");
  });
  await again;
  assert.deepEqual(await readBlob(database.db, blob), bytes);

  // Marked long ago and uploaded anew before the deletion: the mark is gone.
  await database.db.transaction().execute(sweep);
  await letMarksAge();
  await upload();
  await database.db.transaction().execute(sweep);
  assert.deepEqual(await readBlob(database.db, blob), bytes);
});

Deno.test("retention is ordered once at a time, by who sees all sites, and within the brake", async () => {
  const admin = await plane.administrator();
  const { device } = await oldDevice(4);
  await keep(1, 1);
  const most = (mostRevisions: number) => admin.call(applyRetention, { body: { mostRevisions } });
  await assert.rejects(most(2), refusedAs("conflict"));
  const keeper = await makePerson(plane, {
    name: "keeper",
    actions: ["*"],
    selector: { siteIds: [device.siteId] },
  });
  await assert.rejects(keeper.call(applyRetention, { body: {} }), refusedAs("forbidden"));
  await assert.rejects(keeper.call(previewRetention, {}), refusedAs("forbidden"));
  const { revisions } = await admin.call(previewRetention, {});
  const { id: taskId } = await most(revisions);
  await assert.rejects(most(revisions), refusedAs("conflict"));
  await admin.call(cancelTask, { params: { taskId } });
  assert.deepEqual(await numbersOf(device), [4, 3, 2, 1]);
});
