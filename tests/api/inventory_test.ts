/** The inventory as a table: what goes out comes in again, and each sees only what is theirs. */
import assert from "node:assert/strict";
import {
  createCredential,
  getCredential,
  listCredentials,
} from "@rookery/shared/api/credentials.ts";
import {
  archiveDevice,
  createDevice,
  getDevice,
  listDevices,
  updateDevice,
} from "@rookery/shared/api/devices.ts";
import { exportInventory } from "@rookery/shared/api/inventory.ts";
import {
  applyImport,
  getImport,
  type Import,
  type ImportFormat,
  listImportRows,
  listImports,
  type OxidizedColumn,
  previewImport,
  undoImport,
} from "@rookery/shared/api/imports.ts";
import { createJobs } from "@rookery/shared/api/jobs.ts";
import { cancelTask } from "@rookery/shared/api/tasks.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import type { ImportId, SiteId } from "@rookery/shared/ids.ts";
import { openSecrets } from "../../control-plane/credentials/vault.ts";
import { runTasks } from "../../control-plane/tasks/run_tasks.ts";
import { OXIDIZED_MODELS, RANCID_TYPES } from "../../control-plane/inventory/foreign_models.ts";
import { unguardCell, writeCsv } from "../../control-plane/inventory/csv.ts";
import { type Person, testControlPlane } from "../support/control_plane.ts";
import { until } from "../support/agent_bench.ts";
import { refusedAs } from "../support/joining.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";

const database = testDatabase();
const plane = testControlPlane(database);

async function newSite(name: string): Promise<SiteId> {
  return (await (await plane.administrator()).call(createSite, { body: { name } })).id;
}

async function exportOf(person: Person, query: { siteId?: SiteId } = {}): Promise<string[]> {
  const bytes = await person.call(exportInventory, { query });
  return new TextDecoder().decode(bytes).split("\r\n").slice(0, -1);
}

Deno.test("exportInventory() writes each device that is seen, safe for spreadsheets, and credentials for who may read them", async () => {
  const admin = await plane.administrator();
  const [siteId, other] = [await newSite("oslo, east"), await newSite("bergen")];
  const secret = { name: "backup", username: "backup", password: "never shown" };
  const { id: credentialId } = await admin.call(createCredential, { body: secret });
  const odd = { name: "=1+2", host: "192.0.2.1", platform: "frr", tags: ["a, b", "core"] };
  await admin.call(createDevice, { body: { ...odd, siteId, credentialId } });
  const plain = { name: "r2", host: "192.0.2.1", port: 2222, platform: "linux" };
  await admin.call(createDevice, { body: { ...plain, siteId: other } });
  const header = "name,address,port,platform,site,tags,credential";
  const line = `'=1+2,192.0.2.1,22,frr,"oslo, east","""a, b"",core",`;
  const others = "r2,192.0.2.1,2222,linux,bergen,,";
  assert.deepEqual(await exportOf(admin), [header, `${line}backup`, others]);
  assert.deepEqual(await exportOf(admin, { siteId: other }), [header, others]);
  const selector = { siteIds: [siteId] };
  const guest = await makePerson(plane, { name: "guest", actions: ["devices:read"], selector });
  assert.deepEqual(await exportOf(guest), [header, line]);
  assert.deepEqual(await exportOf(guest, { siteId: other }), [header]);
});

Deno.test("exportInventory() reads page by page, and every device once", async () => {
  const siteId = await newSite("many");
  await database.sql`
    insert into devices (id, site_id, name, host, platform)
    select gen_random_uuid(), ${siteId}, 'many-' || n, 'many-' || n, 'frr'
    from generate_series(1, 1200) n`;
  const lines = await exportOf(await plane.administrator(), { siteId });
  assert.equal(new Set(lines).size, 1_201);
});

Deno.test("writeCsv() takes every formula its meaning, and unguardCell() gives back what it was", () => {
  for (const cell of ["=1", "+1", "-1", "@a", "\tx", "\rx", "'=1", "''@x", "'plain", "plain", ""]) {
    const written = writeCsv([[cell]]).replace(/\r\n$/, "").replace(/^"([^]*)"$/, "$1");
    assert.ok(!/^[=+\-@\t\r]/.test(written), cell);
    assert.equal(unguardCell(written), cell);
  }
});

async function preview(
  text: string,
  more: {
    person?: Person;
    format?: ImportFormat;
    siteId?: SiteId;
    platform?: string;
    columns?: OxidizedColumn[];
  } = {},
): Promise<Import> {
  const { person = await plane.administrator(), format = "csv", ...defaults } = more;
  return await person.call(previewImport, { body: { format, text, ...defaults } });
}

async function rowsOf(importId: ImportId, query = {}) {
  const admin = await plane.administrator();
  return (await admin.call(listImportRows, { params: { importId }, query })).items;
}

/** Has the tasks of an import run, as long as it is in this state. */
async function runWhile(state: Import["state"], importId: ImportId): Promise<Import> {
  const admin = await plane.administrator();
  const read = () => admin.call(getImport, { params: { importId } });
  const stop = new AbortController();
  const running = runTasks(plane.services, { signal: stop.signal, pollMs: 20 });
  await until(async () => (await read()).state !== state, `the import is ${state} no more`);
  stop.abort();
  await running;
  return await read();
}

async function apply(importId: ImportId): Promise<Import> {
  const admin = await plane.administrator();
  const ordered = await admin.call(applyImport, { params: { importId } });
  assert.equal(ordered.state, "applying");
  return await runWhile("applying", importId);
}

async function undo(importId: ImportId): Promise<Import> {
  const admin = await plane.administrator();
  assert.equal((await admin.call(undoImport, { params: { importId } })).state, "undoing");
  return await runWhile("undoing", importId);
}

Deno.test("previewImport() says of each row what it would do and names the column that it refuses, and touches nothing", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("Trondheim");
  const device = { siteId, name: "kept", host: "192.0.2.10", platform: "frr", tags: ["CORE"] };
  await admin.call(createDevice, { body: device });
  await admin.call(createDevice, { body: { ...device, name: "renamed", host: "192.0.2.11" } });
  const { id: gone } = await admin.call(createDevice, {
    body: { ...device, name: "archived", host: "192.0.2.12" },
  });
  await admin.call(archiveDevice, { params: { deviceId: gone } });
  const text = [
    "\ufeffName;Address;Port;Platform;Site;Tags;Credential;Rack",
    "kept;192.0.2.10;22;frr;trondheim;core;;R1",
    "new name;192.0.2.11;;linux;Trondheim;core,edge;;",
    "",
    "archived;192.0.2.12;;frr;Trondheim;;;",
    '"quoted; name";192.0.2.13;2222;frr;Trondheim;"""a, b"",wan";backup;',
    "twice;192.0.2.13;2222;frr;Trondheim;;;",
    "x;192.0.2.14;70000;ios;Trondheim;;;",
    "y;192.0.2.15;;frr;Nowhere;;no such;",
    "kept;192.0.2.11;;frr;Trondheim;;;",
    "z;192.0.2.16;;;Trondheim;;;",
  ].join("\r\n");
  const before = await exportOf(admin);
  const { id, ...summary } = await preview(text);
  assert.deepEqual(
    [summary.state, summary.taskId, summary.ignoredColumns, summary.actions],
    ["previewed", null, ["rack"], { create: 2, change: 1, unchanged: 1, refused: 5 }],
  );
  const rows = await rowsOf(id);
  const shown = rows.map(({ row, action, errors }) => [
    row,
    action,
    ...errors.map(({ pointer }) => pointer),
  ]);
  assert.deepEqual(shown, [
    [2, "unchanged"],
    [3, "change"],
    [5, "create"],
    [6, "create"],
    [7, "refused", "#/address"],
    [8, "refused", "#/port", "#/platform"],
    [9, "refused", "#/site", "#/credential"],
    [10, "refused", "#/name"],
    [11, "refused", "#/platform"],
  ]);
  const { before: was, after } = rows[1] ?? assert.fail();
  assert.deepEqual(was, { name: "renamed", platform: "frr", tags: ["core"] });
  assert.deepEqual(after, { name: "new name", platform: "linux", tags: ["core", "edge"] });
  assert.deepEqual(rows[3]?.after.tags, ["a, b", "wan"]);
  assert.equal(rows[4]?.errors[0]?.detail, "row 6 has it already");
  assert.deepEqual(await exportOf(admin), before);
  const refused = await rowsOf(id, { action: "refused", limit: 2 });
  assert.deepEqual(refused.map(({ row }) => row), [7, 8]);
});

Deno.test("applyImport() makes and changes the devices in a task and audits each, and undoImport() takes back what is as it left it", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("Bodø");
  const old = { siteId, name: "old", host: "192.0.2.1", platform: "frr", tags: ["a"] };
  const { id: oldId } = await admin.call(createDevice, { body: old });
  const { id: otherId } = await admin.call(createDevice, {
    body: { ...old, name: "other", host: "192.0.2.2" },
  });
  const text = JSON.stringify([
    { name: "renamed", address: "192.0.2.1", tags: ["b"], credential: "backup" },
    { name: "other", port: 2022 },
    { name: "untouched", address: "192.0.2.3", tags: ["Bodø only", "a"] },
    { address: "192.0.2.4" },
    { name: "busy", address: "192.0.2.5" },
    { name: "raced", address: "192.0.2.6" },
  ]);
  const { id } = await preview(text, { format: "json", siteId, platform: "frr" });
  await admin.call(createDevice, { body: { ...old, name: "RACED", host: "192.0.2.7" } });
  const applied = await apply(id);
  assert.equal(applied.state, "applied");
  assert.deepEqual(applied.outcomes, { applied: 5, left: 1, undone: 0, kept: 0 });
  const names = async () => {
    const { items } = await admin.call(listDevices, { query: { siteId } });
    return items.map(({ name, host, port, tags }) => `${name} ${host} ${port} ${tags}`).sort();
  };
  assert.deepEqual(await names(), [
    "192.0.2.4 192.0.2.4 22 ",
    "RACED 192.0.2.7 22 a",
    "busy 192.0.2.5 22 ",
    "other 192.0.2.2 2022 a",
    "renamed 192.0.2.1 22 b",
    "untouched 192.0.2.3 22 a,Bodø only",
  ]);
  const audited = await database.sql`
    select action, count(*)::int as n from audit_rows
    where target_id = ${id} or detail ->> 'importId' = ${id} group by 1 order by 1`;
  assert.deepEqual(audited.map(({ action, n }) => [action, n]), [
    ["device.create", 3],
    ["device.update", 2],
    ["import.apply", 1],
  ]);
  const rows = await rowsOf(id);
  const touched = rows.find(({ name }) => name === "192.0.2.4")?.deviceId ?? assert.fail();
  const busy = rows.find(({ name }) => name === "busy")?.deviceId ?? assert.fail();
  await admin.call(updateDevice, { params: { deviceId: touched }, body: { idleSeconds: 61 } });
  await admin.call(createJobs, { body: { deviceIds: [busy] } });
  await admin.call(updateDevice, { params: { deviceId: otherId }, body: { port: 2023 } });
  const undone = await undo(id);
  assert.deepEqual(undone.outcomes, { applied: 0, left: 1, undone: 2, kept: 3 });
  const kept = await rowsOf(id, { outcome: "kept" });
  assert.deepEqual(kept.map(({ outcomeDetail }) => outcomeDetail), [
    "changed by somebody else since: port",
    "the device was changed by somebody else since",
    "the device has had jobs since: archive it instead",
  ]);
  const { name, tags, credentialId } = await admin.call(getDevice, { params: { deviceId: oldId } });
  assert.deepEqual([name, tags, credentialId], ["old", ["a"], null]);
  assert.ok(!(await names()).some((line) => line.startsWith("untouched")));
  await assert.rejects(
    admin.call(applyImport, { params: { importId: id } }),
    refusedAs("conflict"),
  );
});

Deno.test("what exportInventory() writes, previewImport() takes for unchanged", async () => {
  const lines = await exportOf(await plane.administrator());
  const { actions } = await preview(lines.join("\r\n"));
  assert.deepEqual(actions, { create: 0, change: 0, unchanged: lines.length - 1, refused: 0 });
});

/** Several batches. */
const MANY = 1_000;

Deno.test("an import goes on where a cancelled task stopped, and gives each new device its tags", async () => {
  const siteId = await newSite("large");
  const line = (_: unknown, n: number) => `large-${n},10.9.${n >> 8}.${n & 255},"t${n % 7},all"`;
  const text = ["name,address,tags", ...Array.from({ length: MANY }, line)].join("\n");
  const { id, actions } = await preview(text, { siteId, platform: "frr" });
  assert.equal(actions.create, MANY);
  const admin = await plane.administrator();
  const params = { importId: id };
  const { taskId } = await admin.call(applyImport, { params });
  const stop = new AbortController();
  const running = runTasks(plane.services, { signal: stop.signal, pollMs: 20 });
  const read = () => admin.call(getImport, { params });
  await until(async () => (await read()).outcomes.applied > 0, "a batch is done");
  await admin.call(cancelTask, { params: { taskId: taskId ?? assert.fail() } });
  stop.abort();
  await running;
  const stopped = await read();
  assert.equal(stopped.state, "stopped");
  assert.ok(stopped.outcomes.applied < MANY);
  const { outcomes } = await apply(id);
  assert.equal(outcomes.applied, MANY);
  const [count] = await database.sql`
    select count(*)::int as tagged from device_tags x join devices d on d.id = x.device_id
    where d.site_id = ${siteId}`;
  assert.equal(count?.tagged, 2 * MANY);
});

Deno.test("an import reaches the sites of its maker only, and nobody else of some sites sees it", async () => {
  const [own, other] = [await newSite("own"), await newSite("foreign")];
  const selector = { siteIds: [own] };
  const actions = ["devices:read", "devices:write"] as const;
  const crew = await makePerson(plane, { name: "crew", actions: [...actions], selector });
  const mate = await makePerson(plane, { name: "mate", actions: [...actions], selector });
  const text = "address,site,credential\n192.0.2.1,own,\n192.0.2.2,foreign,\n192.0.2.3,own,backup";
  const { id } = await preview(text, { person: crew, platform: "frr" });
  const rows = await rowsOf(id);
  const [first, foreign, named] = rows.map(({ errors }) => errors.map(({ detail }) => detail));
  assert.deepEqual(first, []);
  assert.deepEqual(foreign, ["is no site of the tenant that you may change"]);
  assert.deepEqual(named, ["is no credential of the tenant that you may see"]);
  const params = { importId: id };
  await assert.rejects(mate.call(getImport, { params }), refusedAs("not-found"));
  await assert.rejects(mate.call(applyImport, { params }), refusedAs("not-found"));
  assert.deepEqual((await mate.call(listImports, {})).items, []);
  await assert.rejects(preview(text, { person: crew, siteId: other }), refusedAs("validation"));
  await crew.call(applyImport, { params });
  assert.equal((await runWhile("applying", id)).outcomes.applied, 1);
});

Deno.test("previewImport() refuses what is no file of the format, and says where", async () => {
  const wrong = [
    ["csv", 'address,site\n192.0.2.1,"Oslo', /is no CSV at line 2: its quotation marks do not fit/],
    ["csv", "name,site\nx,Oslo", /must begin with a line that names its columns: name, address/],
    ["csv", "address", /has no rows/],
    ["json", "{", /is no JSON/],
    ["json", "{}", /must be a JSON list/],
  ] as const;
  for (const [format, text, words] of wrong) {
    await assert.rejects(preview(text, { format }), (error: Error) => {
      return refusedAs("validation")(error) && words.test(error.message);
    });
  }
  const { id } = await preview('[1, {"a\\u0000b\\ud800": 1}, {"__proto__": {}}, {"port": "22"}]', {
    format: "json",
  });
  const rows = await rowsOf(id);
  assert.deepEqual(rows.map(({ action }) => action), Array(4).fill("refused"));
});

/** The tables with a row in which the text stands, as it is or as bytes. */
async function tablesWith(text: string): Promise<string[]> {
  const tables = await database.sql`
    select c.relname as name from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'`;
  const hex = new TextEncoder().encode(text).toHex();
  const found: string[] = [];
  for (const { name } of tables) {
    const rows = await database.sql`
      select 1 from ${database.sql(name)} x where x::text like ${`%${text}%`}
        or x::text like ${`%${hex}%`} limit 1`;
    if (rows.length > 0) found.push(name);
  }
  return found;
}

Deno.test("a pasted list makes a sealed credential of each login, and its passwords stand nowhere else", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("pasted");
  const known = { siteId, name: "known", host: "192.0.2.3", platform: "frr" };
  const { id: deviceId } = await admin.call(createDevice, { body: known });
  const secret = 'p4ste-Zx"9,';
  const text = `# comment\r\n192.0.2.1, backup, ${secret}\r\n192.0.2.2,backup,${secret}\n` +
    `192.0.2.3\tother\t${secret}\n\n${secret}x,backup,192.0.2.4\n192.0.2.5,backup\n` +
    `192.0.2.6,,${secret}\nnot an address ${secret}`;
  const { id, actions, newCredentials } = await preview(text, {
    format: "paste",
    siteId,
    platform: "frr",
  });
  assert.deepEqual(actions, { create: 2, change: 1, unchanged: 0, refused: 4 });
  assert.deepEqual(newCredentials.map(({ username }) => username), ["backup", "other"]);
  const refused = await rowsOf(id, { action: "refused" });
  assert.deepEqual(
    refused.map(({ row, host, errors }) => [row, host, errors[0]?.pointer]),
    [[6, null, "#/address"], [7, null, "#/password"], [8, null, "#/user"], [9, null, "#/user"]],
  );
  assert.deepEqual(await tablesWith(secret.slice(0, 9)), []);
  const { outcomes } = await apply(id);
  assert.equal(outcomes.applied, 3);
  const { items } = await admin.call(listDevices, { query: { siteId } });
  const credentialIds = items.map((device) => device.credentialId);
  const [backup, other] = newCredentials.map((credential) => credential.credentialId);
  assert.deepEqual(credentialIds, [other, backup, backup]);
  for (const { credentialId } of newCredentials) {
    const { hasPassword, devices } = await admin.call(getCredential, { params: { credentialId } });
    assert.deepEqual([hasPassword, devices > 0], [true, true]);
    const envelope = await database.db.selectFrom("credentialVersions").selectAll()
      .where("credentialId", "=", credentialId).executeTakeFirstOrThrow();
    const { keyRing } = plane.services;
    const opened = await openSecrets(keyRing, { credentialId, version: 1, envelope });
    assert.deepEqual(opened, { password: secret });
  }
  assert.deepEqual(await tablesWith(secret.slice(0, 9)), []);
  assert.ok(!JSON.stringify(plane.log).includes(secret.slice(0, 9)));
  assert.equal((await database.sql`select 1 from import_secrets`).length, 0);
  assert.deepEqual((await undo(id)).outcomes, { applied: 0, left: 0, undone: 3, kept: 0 });
  assert.equal((await admin.call(getDevice, { params: { deviceId } })).credentialId, null);
  const left = (await admin.call(listCredentials, {})).items.map(({ name }) => name);
  assert.ok(!left.some((name) => name.includes(", import ")));
});

Deno.test("a list with logins is refused to who may make devices and no credentials", async () => {
  const actions = ["devices:write" as const];
  const person = await makePerson(plane, { name: "secretless", actions });
  const siteId = await newSite("no secrets");
  const more = { person, format: "paste" as const, siteId, platform: "frr" };
  await assert.rejects(preview("192.0.2.1,backup,secret", more), refusedAs("forbidden"));
  assert.equal((await preview("192.0.2.1", more)).actions.create, 1);
});

Deno.test("a router.db of Oxidized or RANCID is read as each documents it, and models without a driver are named", async () => {
  const siteId = await newSite("migrated");
  const shown = async (importId: ImportId) =>
    (await rowsOf(importId)).map(({ row, host, after, errors }) =>
      [
        row,
        host,
        ...errors.map(({ pointer, detail }) => `${pointer} ${detail}`),
        ...Object.values({ name: after.name, port: after.port, platform: after.platform }),
      ].filter((value) => value !== undefined)
    );
  // The line of docs/Sources.md, with the delimiter of the configuration above it.
  const columns = ["name", "ip", "model", "username", "password", "enable"] as const;
  const oxidized = "# group\nrtr01.local:192.168.1.1:ios:oxidized:5uP3R53cR3T:T0p53cR3t\n" +
    "rtr02.local:192.168.1.2:panos:::\nrtr03.local:192.168.1.3:JunOS:::\nrtr04:192.168.1.4:ios:u::";
  const { id, newCredentials } = await preview(oxidized, {
    format: "oxidized",
    siteId,
    columns: [...columns],
  });
  assert.deepEqual(await shown(id), [
    [2, "192.168.1.1", "rtr01.local", 22, "cisco_iosxe"],
    [3, "192.168.1.2", '#/platform "panos" is no model with a platform here'],
    [4, "192.168.1.3", "rtr03.local", 22, "juniper_junos"],
    [
      5,
      "192.168.1.4",
      "#/password must not be empty",
      "#/password must be one line without NUL",
    ],
  ]);
  assert.equal((await apply(id)).outcomes.applied, 2);
  const credentialId = newCredentials[0]?.credentialId ?? assert.fail();
  const admin = await plane.administrator();
  const made = await admin.call(getCredential, { params: { credentialId } });
  assert.deepEqual([made.username, made.hasEnableSecret, made.devices], ["oxidized", true, 1]);
  const simple = await preview("sw1.test:ios\nsw2.test:ios:user:pass", {
    format: "oxidized",
    siteId,
  });
  assert.deepEqual(await shown(simple.id), [
    [1, "sw1.test", "sw1.test", 22, "cisco_iosxe"],
    [2, null, "#/columns the line has 4 fields and columns names 2: name each, or ignore it"],
  ]);
  const rancid =
    "scooby.shrubbery.net;cisco;up\ncore1.paris;cisco;down;in testing\n# x;cisco;up\n" +
    "border1.paris;juniper;up;\nfw;netscreen;up";
  const { id: rancidId } = await preview(rancid, { format: "rancid", siteId });
  assert.deepEqual(await shown(rancidId), [
    [1, "scooby.shrubbery.net", "scooby.shrubbery.net", 22, "cisco_iosxe"],
    [2, "core1.paris", "#/state is not up: RANCID does not collect it either"],
    [4, "border1.paris", "border1.paris", 22, "juniper_junos"],
    [5, "fw", '#/platform "netscreen" is no model with a platform here'],
  ]);
  const old = await preview("dial1.paris:cisco:up:", { format: "rancid", siteId });
  assert.equal(old.actions.create, 1);
  for (const platform of [...OXIDIZED_MODELS.values(), ...RANCID_TYPES.values()]) {
    assert.ok(findDriver(platform), platform);
  }
});
