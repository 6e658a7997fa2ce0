/** What happens to devices in their life: the archive and the way back, other sites, other hardware, the end. */
import assert from "node:assert/strict";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import { getDeviceStatus, listRevisions, readRevisionText } from "@rookery/shared/api/backups.ts";
import {
  listDeviceMarks,
  moveDevice,
  purgeDevice,
  replaceDevice,
} from "@rookery/shared/api/device_changes.ts";
import {
  archiveDevice,
  createDevice,
  getDevice,
  restoreDevice,
} from "@rookery/shared/api/devices.ts";
import { createHostKey, listHostKeys } from "@rookery/shared/api/host_keys.ts";
import { getJob } from "@rookery/shared/api/jobs.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import { createTenant } from "@rookery/shared/api/tenants.ts";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { readExact } from "../../control-plane/backups/render_text.ts";
import { findGrant } from "../../control-plane/jobs/lease_details.ts";
import { frrConfiguration, report } from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";
import { enqueue, makeAgent } from "../support/queue.ts";
import { refusedAs } from "../support/refused_as.ts";

const database = testDatabase();
const plane = testControlPlane(database);
const KEY = { keyType: "ssh-ed25519", fingerprint: `SHA256:${"A".repeat(43)}` };
const NEW_KEY = { keyType: "ssh-ed25519", fingerprint: `SHA256:${"B".repeat(43)}` };

Deno.test("an archived device keeps its history, and restoreDevice() brings both back unless its place was taken", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("archive");
  const { deviceId } = await backedUp(siteId, "core", ["first"]);
  const [job] = await enqueue(database.db, { siteId, deviceIds: [deviceId] });
  const params = { deviceId };
  await admin.call(archiveDevice, { params });
  assert.ok(job);
  const { state } = await admin.call(getJob, { params: { jobId: job.jobId } });
  assert.equal(state, "cancelled");
  assert.equal(await newestText(deviceId), frrMasked("first"));
  const body = { siteId, name: "CORE", host: "192.0.2.200", platform: "frr" };
  const other = await admin.call(createDevice, { body });
  await refusedAs("conflict", admin.call(restoreDevice, { params }), "#/name");
  await admin.call(archiveDevice, { params: { deviceId: other.id } });
  assert.equal((await admin.call(restoreDevice, { params })).archivedAt, null);
  assert.equal((await admin.call(getDeviceStatus, { params })).lastOutcome, "verified");
  assert.equal(await newestText(deviceId), frrMasked("first"));
});

Deno.test("purgeDevice() has a permission of its own, takes an archived device only, and leaves nothing but the audit", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("purge");
  const kept = await backedUp(siteId, "kept", ["kept"]);
  const { deviceId } = await backedUp(siteId, "gone", ["one", "two"]);
  const [job] = await enqueue(database.db, { siteId, deviceIds: [deviceId] });
  const agent = await makeAgent(database.db, { siteId, deviceIds: [deviceId] });
  const [lease] = await agent.claim(1);
  assert.ok(job && lease);
  const params = { deviceId };
  const purge = { params, body: { name: "gone" } };
  const operator = await makePerson(plane, { name: "purge-1", actions: ["devices:*", "jobs:*"] });
  const problem = await refusedAs("forbidden", operator.call(purgeDevice, purge));
  assert.match(problem.message, /archive:purge/);
  await refusedAs("conflict", admin.call(purgeDevice, purge));
  await admin.call(archiveDevice, { params });
  await refusedAs(
    "validation",
    admin.call(purgeDevice, { params, body: { name: "Gone" } }),
    "#/name",
  );
  await admin.call(purgeDevice, purge);
  await refusedAs("not-found", admin.call(getDevice, { params }));
  assert.deepEqual(await tablesWith(deviceId), ["outbox", "audit_rows"].sort());
  const { rows: left } = await leftOfJobs([job.jobId]);
  assert.equal(left, 0);
  const { agentId } = agent;
  assert.equal(await findGrant(database.db, { agentId, leaseId: lease.leaseId }), undefined);
  const query = { action: "device.purge", targetId: deviceId };
  const { items: [row] } = await admin.call(listAuditRows, { query });
  assert.deepEqual(row?.detail, { name: "gone", host: "gone.test" });
  assert.equal(await newestText(kept.deviceId), frrMasked("kept"));
});

Deno.test("moveDevice() takes the configurations along, ends all jobs, and shows neither site the other", async () => {
  const admin = await plane.administrator();
  const { db } = database;
  const [from, to] = [await newSite("from"), await newSite("to")];
  const { deviceId, text } = await backedUp(from, "mover", ["first", "second"]);
  await admin.call(createHostKey, { body: { deviceId, ...KEY } });
  const params = { deviceId };
  const here = { name: "from-only", actions: ["devices:*" as const, "backups:read" as const] };
  const local = await makePerson(plane, { ...here, selector: { siteIds: [from] } });
  const there = { ...here, name: "to-only", selector: { siteIds: [to] } };
  const receiver = await makePerson(plane, there);
  const move = { params, body: { siteId: to } };
  await refusedAs("validation", local.call(moveDevice, move), "#/siteId");
  await refusedAs("not-found", receiver.call(moveDevice, move));
  const [job] = await enqueue(db, { siteId: from, deviceIds: [deviceId] });
  const agent = await makeAgent(db, { siteId: from, deviceIds: [deviceId] });
  const [lease] = await agent.claim(1);
  assert.ok(job && lease);
  const [next] = await enqueue(db, { siteId: from, deviceIds: [deviceId] }, {
    kind: "check_reachability",
  });
  assert.ok(next);
  const taken = { siteId: to, name: "Mover", host: "192.0.2.1", platform: "frr" };
  const other = await admin.call(createDevice, { body: taken });
  await refusedAs("conflict", admin.call(moveDevice, move), "#/name");
  await admin.call(archiveDevice, { params: { deviceId: other.id } });
  assert.equal((await admin.call(moveDevice, move)).siteId, to);
  for (const jobId of [job.jobId, next.jobId]) {
    const { state } = await admin.call(getJob, { params: { jobId } });
    assert.equal(state, "cancelled");
  }
  const held = { agentId: agent.agentId, leaseId: lease.leaseId };
  assert.equal(await findGrant(db, held), undefined, "what the old agent still reports is lost");
  await refusedAs("not-found", local.call(getDevice, { params }));
  const { items } = await receiver.call(listRevisions, { params });
  assert.deepEqual(items.map(({ number, siteId }) => [number, siteId]), [[2, to], [1, to]]);
  const { keyRing } = plane.services;
  const exact = { keyRing, siteId: to, rawSha256: items[0]?.sha256 as never };
  assert.equal(new TextDecoder().decode(await readExact(db, exact)), text);
  assert.equal((await receiver.call(getDeviceStatus, { params })).lastOutcome, "verified");
  assert.equal((await admin.call(listHostKeys, { query: { siteId: to } })).items.length, 1);
  const { services } = plane;
  const again = await report(services, { siteId: to, deviceId }, text);
  assert.equal(again.ok && again.captures[0]?.kind, "unchanged");
  const marks = await receiver.call(listDeviceMarks, { params });
  assert.deepEqual(marks.items.map(({ kind, fromSiteId }) => [kind, fromSiteId]), [[
    "moved",
    null,
  ]]);
  const all = await admin.call(listDeviceMarks, { params });
  assert.equal(all.items[0]?.fromSiteId, from);
  const rows = await database.sql`
    select action, site_id from audit_rows where target_id = ${deviceId} and action like '%move%'
    order by action`;
  assert.deepEqual(rows.map((row) => [row.action, row.site_id]), [
    ["device.move_away", from],
    ["device.move_in", to],
  ]);
});

Deno.test("replaceDevice() pins the new host key alone, forgets the old hardware, and marks the history", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("replace");
  const { deviceId } = await backedUp(siteId, "hardware", ["old"]);
  await admin.call(createHostKey, { body: { deviceId, ...KEY } });
  const params = { deviceId };
  const body = { serialNumber: "SN-2", hostKey: NEW_KEY, host: "192.0.2.77" };
  const keyless = await makePerson(plane, { name: "keyless", actions: ["devices:*"] });
  const problem = await refusedAs("forbidden", keyless.call(replaceDevice, { params, body }));
  assert.match(problem.message, /host_keys:write/);
  const mark = await admin.call(replaceDevice, { params, body });
  assert.deepEqual([mark.kind, mark.serialNumber, mark.fingerprint], [
    "replaced",
    "SN-2",
    NEW_KEY.fingerprint,
  ]);
  const keys = await admin.call(listHostKeys, { query: { deviceId } });
  const states = keys.items.map(({ fingerprint, state }) => `${fingerprint.slice(7, 8)} ${state}`);
  assert.deepEqual(states.sort(), ["A rejected", "B accepted"]);
  assert.equal((await admin.call(getDevice, { params })).host, "192.0.2.77");
  const { facts } = await admin.call(getDeviceStatus, { params });
  assert.deepEqual(facts, { serialNumber: "SN-2" });
  await report(plane.services, { siteId, deviceId }, frrConfiguration({ password: "new" }));
  const { items } = await admin.call(listRevisions, { params });
  assert.deepEqual(items.map(({ number, hardware }) => [number, hardware]), [[2, 2], [1, 1]]);
});

Deno.test("moveDevice() refuses another tenant, no site, and the site where the device is", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("stay");
  const { deviceId } = await backedUp(siteId, "stayer", []);
  const { id: tenantId } = await admin.call(createTenant, { body: { name: "Elsewhere" } });
  const foreign = await admin.call(createSite, { body: { name: "foreign", tenantId } });
  for (const wrong of [foreign.id, siteId, crypto.randomUUID() as SiteId]) {
    const call = admin.call(moveDevice, { params: { deviceId }, body: { siteId: wrong } });
    await refusedAs("validation", call, "#/siteId");
  }
});

async function newSite(name: string): Promise<SiteId> {
  const admin = await plane.administrator();
  return (await admin.call(createSite, { body: { name } })).id;
}

/** A device with a configuration for each of these passwords; `text` is the last one. */
async function backedUp(siteId: SiteId, name: string, passwords: readonly string[]) {
  const admin = await plane.administrator();
  const body = { siteId, name, host: `${name}.test`, platform: "frr" };
  const { id: deviceId } = await admin.call(createDevice, { body });
  let text = "";
  for (const password of passwords) {
    text = frrConfiguration({ password, interfaces: password.length });
    await report(plane.services, { siteId, deviceId }, text);
  }
  return { deviceId, text };
}

function frrMasked(password: string): string {
  return frrConfiguration({ password: "<secret>", interfaces: password.length });
}

async function newestText(deviceId: DeviceId): Promise<string> {
  const admin = await plane.administrator();
  const { items: [newest] } = await admin.call(listRevisions, { params: { deviceId } });
  assert.ok(newest);
  const text = await admin.call(readRevisionText, { params: { revisionId: newest.id } });
  return text.replaceAll(/<secret:\w+>/g, "<secret>");
}

/** Every table that names the device somewhere in a row. */
async function tablesWith(deviceId: DeviceId): Promise<string[]> {
  const { sql } = database;
  const tables = await sql<{ name: string }[]>`
    select c.relname as name from pg_class c where c.relnamespace = 'public'::regnamespace
      and c.relkind in ('r', 'p') and not c.relispartition`;
  const found: string[] = [];
  for (const { name } of tables) {
    const [row] = await sql`
      select 1 from ${sql(name)} t where t::text like ${`%${deviceId}%`} limit 1`;
    if (row) found.push(name);
  }
  return found.sort();
}

async function leftOfJobs(jobIds: string[]): Promise<{ rows: number }> {
  const [row] = await database.sql`
    select (select count(*) from jobs where id = any(${jobIds}))
      + (select count(*) from done where job_id = any(${jobIds}))
      + (select count(*) from leases where job_id = any(${jobIds}))
      + (select count(*) from attempts where job_id = any(${jobIds}))
      + (select count(*) from job_log where job_id = any(${jobIds})) as rows`;
  return { rows: Number(row?.rows) };
}
