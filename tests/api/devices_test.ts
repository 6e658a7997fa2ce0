import assert from "node:assert/strict";
import {
  archiveDevice,
  createDevice,
  getDevice,
  listDevices,
  listPlatforms,
  restoreDevice,
  updateDevice,
} from "@rookery/shared/api/devices.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import { createTenant } from "@rookery/shared/api/tenants.ts";
import type { SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);

Deno.test("createDevice() fills in what was left out, and the device can be read", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("defaults");
  const body = { siteId, name: "core-1", host: "192.0.2.1", platform: "frr" };
  const device = await admin.call(createDevice, { body });
  assert.deepEqual([device.port, device.legacyAlgorithms, device.credentialId], [22, false, null]);
  const params = { deviceId: device.id };
  assert.deepEqual(await admin.call(getDevice, { params }), device);
});

Deno.test("createDevice() takes addresses and names, and keeps one way of writing each", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("hosts");
  const cases: readonly (readonly [given: string, kept: string])[] = [
    ["198.51.100.7", "198.51.100.7"],
    ["2001:DB8:0:0:0:0:0:7", "2001:db8::7"],
    ["Core-1.Example.COM.", "core-1.example.com"],
    ["sw_01", "sw_01"],
    ["127.0.0.1", "127.0.0.1"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["0:0:0:0:0:FFFF:0a00:00ff", "10.0.0.255"],
  ];
  for (const [host, kept] of cases) {
    const body = { siteId, name: `host ${host}`, host, platform: "linux" };
    assert.equal((await admin.call(createDevice, { body })).host, kept);
  }
  const again = { siteId, name: "again", host: "2001:db8::0007", platform: "linux" };
  await refusedAs("conflict", admin.call(createDevice, { body: again }), "#/host");
  const mapped = { ...again, host: "::ffff:198.51.100.7" };
  await refusedAs("conflict", admin.call(createDevice, { body: mapped }), "#/host");
});

Deno.test("createDevice() refuses what is no address, no port, no platform, by its field", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("junk");
  const good = { siteId, name: "junk", host: "192.0.2.9", platform: "frr" };
  const hosts = [
    "",
    "256.1.1.1",
    "1.2.3",
    "192.0.2.1:22",
    "http://192.0.2.1",
    "a b",
    "-a.example",
    "a..b",
    "root@192.0.2.1",
    "[::1]",
    "fe80::1%eth0",
    "0.0.0.0",
    "::",
    "0:0::0",
    "::ffff:0.0.0.0",
    "::ffff:224.0.0.1",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "x".repeat(64),
    `${"x.".repeat(130)}x`,
    "host\0",
    "ho\nst",
  ];
  for (const host of hosts) {
    await refusedAs("validation", admin.call(createDevice, { body: { ...good, host } }), "#/host");
  }
  for (const port of [0, -1, 65_536, 22.5]) {
    await refusedAs("validation", admin.call(createDevice, { body: { ...good, port } }), "#/port");
  }
  for (const platform of ["", "cisco_nothing", "constructor", "FRR"]) {
    const call = admin.call(createDevice, { body: { ...good, platform } });
    await refusedAs("validation", call, "#/platform");
  }
  const nowhere = { ...good, siteId: crypto.randomUUID() as SiteId };
  await refusedAs("validation", admin.call(createDevice, { body: nowhere }), "#/siteId");
  const { items } = await admin.call(listDevices, { query: { siteId } });
  assert.deepEqual(items, []);
});

Deno.test("a site has one device of a name and one at an address; another site may have the same", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("one");
  const body = { siteId, name: "edge", host: "192.0.2.1", platform: "frr" };
  await admin.call(createDevice, { body });
  const sameName = { ...body, name: "EDGE", host: "192.0.2.2" };
  await refusedAs("conflict", admin.call(createDevice, { body: sameName }), "#/name");
  const sameHost = { ...body, name: "edge-2" };
  await refusedAs("conflict", admin.call(createDevice, { body: sameHost }), "#/host");
  await admin.call(createDevice, { body: { ...sameHost, port: 2222 } });
  await admin.call(createDevice, { body: { ...body, siteId: await newSite("two") } });
});

Deno.test("updateDevice() changes what it is given and nothing else, and the audit says what", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("update");
  const body = { siteId, name: "old", host: "192.0.2.1", platform: "frr", port: 2022 };
  const { id: deviceId, ...before } = await admin.call(createDevice, { body });
  const after = await admin.call(updateDevice, { params: { deviceId }, body: { name: "new" } });
  assert.deepEqual({ ...after, name: "old", updatedAt: "" }, {
    ...before,
    id: deviceId,
    updatedAt: "",
  });
  const [row] = await database.sql`
    select detail::text as detail from audit_rows
    where action = 'device.update' and target_id = ${deviceId}`;
  assert.match(row?.detail, /new/);
  assert.doesNotMatch(row?.detail, /192\.0\.2\.1/);
});

Deno.test("archiveDevice() takes a device out of the list and frees its name; restoreDevice() brings it back", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("archive");
  const body = { siteId, name: "gone", host: "192.0.2.1", platform: "frr" };
  const { id: deviceId } = await admin.call(createDevice, { body });
  await admin.call(archiveDevice, { params: { deviceId } });
  await refusedAs("conflict", admin.call(archiveDevice, { params: { deviceId } }));
  assert.deepEqual((await admin.call(listDevices, { query: { siteId } })).items, []);
  const archived = await admin.call(listDevices, { query: { siteId, archived: "true" } });
  assert.deepEqual(archived.items.map(({ id }) => id), [deviceId]);
  const replacement = await admin.call(createDevice, { body });
  await refusedAs("conflict", admin.call(restoreDevice, { params: { deviceId } }));
  await admin.call(archiveDevice, { params: { deviceId: replacement.id } });
  const restored = await admin.call(restoreDevice, { params: { deviceId } });
  assert.equal(restored.archivedAt, null);
});

Deno.test("listDevices() pages through all devices once, also while others come", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("pages");
  for (let number = 1; number <= 7; number++) await add(number);
  const seen: string[] = [];
  const query: { siteId: SiteId; limit: number; cursor?: string } = { siteId, limit: 3 };
  for (let pages = 1; pages < 10; pages++) {
    const { items, nextCursor } = await admin.call(listDevices, { query });
    seen.push(...items.map(({ name }) => name));
    if (pages === 1) await add(8);
    if (nextCursor === null) break;
    query.cursor = nextCursor;
  }
  assert.deepEqual(seen, Array.from({ length: 8 }, (_, index) => `page-${index + 1}`));

  async function add(number: number): Promise<void> {
    const host = `192.0.2.${number}`;
    const body = { siteId, name: `page-${number}`, host, platform: "frr" };
    await admin.call(createDevice, { body });
  }
});

Deno.test("listDevices() finds devices by what their backups came to, and says it of each", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("statuses");
  const add = async (name: string) => {
    const body = { siteId, name, host: `${name}.test`, platform: "frr" };
    return (await admin.call(createDevice, { body })).id;
  };
  const [never, fresh, old, failed, held] = [
    await add("never"),
    await add("fresh"),
    await add("old"),
    await add("failed"),
    await add("held"),
  ];
  const say = (deviceId: string, outcome: string, hours: number | null, unsaved: boolean | null) =>
    database.sql`update device_status set last_attempt_at = now(), last_outcome = ${outcome},
      last_verified_at = now() - make_interval(hours => ${hours}), unsaved = ${unsaved}
      where device_id = ${deviceId}`;
  await say(fresh, "verified", 1, false);
  await say(old, "verified", 50, true);
  await say(failed, "failed", null, null);
  await say(held, "quarantined", 3, true);
  const find = async (query: object) => {
    const { items } = await admin.call(listDevices, { query: { siteId, ...query } });
    return items.map(({ id }) => id);
  };
  assert.deepEqual(await find({ status: "never" }), [never]);
  assert.deepEqual(await find({ status: "verified" }), [fresh, old]);
  assert.deepEqual(await find({ status: "failed" }), [failed]);
  assert.deepEqual(await find({ status: "quarantined" }), [held]);
  assert.deepEqual(await find({ staleHours: 2 }), [never, old, failed, held]);
  assert.deepEqual(await find({ staleHours: 49, status: "verified" }), [old]);
  assert.deepEqual(await find({ unsaved: "true" }), [old, held]);
  assert.deepEqual(await find({ unsaved: "false" }), [fresh]);
  const { items } = await admin.call(listDevices, { query: { siteId, unsaved: "true", limit: 1 } });
  assert.deepEqual([items[0]?.status, items[0]?.unsaved], ["verified", true]);
  assert.ok(items[0]?.lastVerifiedAt?.endsWith("Z"));
});

Deno.test("listPlatforms() names the four platforms and how well each is known", async () => {
  const admin = await plane.administrator();
  const { items } = await admin.call(listPlatforms, {});
  const names = items.map(({ platform }) => platform);
  for (const name of ["cisco_iosxe", "frr", "juniper_junos", "linux"]) {
    assert.ok(names.includes(name));
  }
  assert.ok(items.every(({ evidence, captures }) => evidence !== "" && captures.length > 0));
});

Deno.test("listDevices() finds devices by tenant, platform, owner and text, whatever else they are", async () => {
  const admin = await plane.administrator();
  const { id: tenantId } = await admin.call(createTenant, { body: { name: "Filters" } });
  const site = { name: "filters", tenantId };
  const { id: siteId } = await admin.call(createSite, { body: site });
  const add = async (name: string, more: object = {}) => {
    const body = { siteId, name, host: `${name}.test`, platform: "frr", ...more };
    return (await admin.call(createDevice, { body })).id;
  };
  const notes = "Behind the second door.\n100% of it_is\tours";
  const a = await add("oslo-a", { notes, owner: "Network" });
  const b = await add("oslo-b", { host: "203.0.113.77", owner: "network" });
  const c = await add("xr-1", { platform: "linux" });
  const find = async (query: object) => {
    const { items } = await admin.call(listDevices, { query: { tenantId, ...query } });
    return items.map(({ id }) => id);
  };
  assert.deepEqual(await find({}), [a, b, c]);
  assert.deepEqual(await find({ platform: "linux" }), [c]);
  assert.deepEqual(await find({ owner: "NETWORK" }), [a, b]);
  assert.deepEqual(await find({ owner: "net" }), []);
  const texts: readonly (readonly [text: string, found: readonly string[]])[] = [
    ["OSLO-", [a, b]],
    ["slo-b", [b]],
    ["0.113.7", [b]],
    // A dot is a dot, though the index takes it for a letter.
    ["0q113q7", []],
    ["second door", [a]],
    ["100% of it_is", [a]],
    ["100_ of it%is", []],
    // So short a text is looked for at the beginnings.
    ["xr", [c]],
    ["lo", []],
    ["20", [b]],
    ["' or true --", []],
  ];
  for (const [text, found] of texts) assert.deepEqual(await find({ text }), found, text);
  assert.deepEqual(await find({ text: "oslo", owner: "network", platform: "linux" }), []);
  const params = { deviceId: a };
  const changed = await admin.call(updateDevice, { params, body: { notes: "", owner: "" } });
  assert.deepEqual([changed.notes, changed.owner], ["", ""]);
  assert.deepEqual([await find({ owner: "network" }), await find({ text: "door" })], [[b], []]);
});

async function newSite(name: string): Promise<SiteId> {
  const admin = await plane.administrator();
  return (await admin.call(createSite, { body: { name } })).id;
}

async function refusedAs(
  type: ProblemType,
  promise: Promise<unknown>,
  pointer?: string,
): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof ProblemError, String(error));
    assert.equal(error.type, type);
    if (pointer !== undefined) assert.ok(error.errors.some((field) => field.pointer === pointer));
    return true;
  });
}
