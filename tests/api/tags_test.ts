import assert from "node:assert/strict";
import { editDevices } from "@rookery/shared/api/device_edits.ts";
import {
  archiveDevice,
  createDevice,
  getDevice,
  listDevices,
  updateDevice,
} from "@rookery/shared/api/devices.ts";
import { createPolicy, deletePolicy } from "@rookery/shared/api/policies.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import { createTenant } from "@rookery/shared/api/tenants.ts";
import { deleteTag, listTags, renameTag } from "@rookery/shared/api/tag_names.ts";
import {
  createTagRule,
  deleteTagRule,
  getTagRule,
  listTagRules,
  previewTagRule,
  updateTagRule,
} from "@rookery/shared/api/tag_rules.ts";
import type { CredentialId, DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { examineBackup } from "../../control-plane/backups/ingest.ts";
import { recordBackup } from "../../control-plane/backups/record_backup.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { attemptOf, frrConfiguration, upload } from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";
import { refusedAs } from "../support/refused_as.ts";

const database = testDatabase();
const plane = testControlPlane(database);

let made = 0;

async function addTagged(siteId: SiteId, tags?: string[]) {
  const admin = await plane.administrator();
  const name = `device-${++made}`;
  const body = { siteId, name, host: `${name}.test`, platform: "frr", ...(tags ? { tags } : {}) };
  return await admin.call(createDevice, { body });
}

async function newSite(name: string): Promise<SiteId> {
  return (await (await plane.administrator()).call(createSite, { body: { name } })).id;
}

Deno.test("createDevice() and updateDevice() give a device the tags that are named, and no others", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("given");
  const plain = await addTagged(siteId);
  assert.deepEqual(plain.tags, []);
  const { id: deviceId, tags } = await addTagged(siteId, ["wan", "Core", "core", "two words"]);
  assert.deepEqual(tags, ["Core", "two words", "wan"]);
  const params = { deviceId };
  await admin.call(updateDevice, { params, body: { name: "renamed" } });
  assert.deepEqual((await admin.call(getDevice, { params })).tags, ["Core", "two words", "wan"]);
  const changed = await admin.call(updateDevice, { params, body: { tags: ["CORE", "edge"] } });
  assert.deepEqual(changed.tags, ["Core", "edge"], "the tag was known by that name");
  const cleared = await admin.call(updateDevice, { params, body: { tags: [] } });
  assert.deepEqual(cleared.tags, []);
  for (const tags of [[""], ['a"b'], ["a\nb"], ["x".repeat(51)], Array(51).fill("x")]) {
    await assert.rejects(
      admin.call(updateDevice, { params, body: { tags } }),
      (error) => error instanceof ProblemError && /^#\/tags/.test(error.errors[0]?.pointer ?? ""),
    );
  }
  const [audited] = await database.sql`
    select detail from audit_rows where action = 'device.update' and target_id = ${deviceId}
      and detail -> 'after' ? 'tags' order by id limit 1`;
  assert.deepEqual(audited?.detail.after, { tags: ["CORE", "edge"] });
});

Deno.test("listDevices() filters by a tag expression, within a site, and takes names for nothing but names", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("filtered");
  const [a, b, c, d] = [
    await addTagged(siteId, ["core", "wan"]),
    await addTagged(siteId, ["core", "lab"]),
    await addTagged(siteId, ["edge", "it's; drop table tags --"]),
    await addTagged(siteId),
  ];
  await addTagged(await newSite("another"), ["core"]);
  const find = async (tags: string) => {
    const { items } = await admin.call(listDevices, { query: { siteId, tags } });
    return items.map(({ id }) => id);
  };
  assert.deepEqual(await find("core"), [a.id, b.id]);
  assert.deepEqual(await find("CORE and not lab"), [a.id]);
  assert.deepEqual(await find("(core or edge) and not (lab or wan)"), [c.id]);
  assert.deepEqual(await find("not core and not edge"), [d.id]);
  assert.deepEqual(await find("nobody-has-this"), []);
  assert.deepEqual(await find("not nobody-has-this"), [a.id, b.id, c.id, d.id]);
  assert.deepEqual(await find('"it\'s; drop table tags --"'), [c.id]);
  assert.deepEqual(await find(`"' or true --"`), []);
  await assert.rejects(
    admin.call(listDevices, { query: { siteId, tags: "core and (edge" } }),
    (error) =>
      error instanceof ProblemError && error.errors[0]?.pointer === "?tags" &&
      /expected and, or, or \) at character 15/.test(error.errors[0].detail),
  );
});

Deno.test("devices that get the same new tags at once wait for nobody in a circle", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("at once");
  const devices = await Promise.all(Array.from({ length: 6 }, () => addTagged(siteId)));
  const tags = Array.from({ length: 20 }, (_, n) => `new-${n}`);
  await Promise.all(devices.map(({ id: deviceId }, n) => {
    const body = { tags: n % 2 ? tags : tags.toReversed() };
    return admin.call(updateDevice, { params: { deviceId }, body });
  }));
  const { items } = await admin.call(listDevices, { query: { siteId, tags: "new-0 and new-19" } });
  assert.equal(items.length, 6);
});

Deno.test("a rule tags the devices that fit all of its patterns, those that are there and those to come", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("rules");
  const add = async (name: string, more: object = {}) => {
    const body = { siteId, name, host: `${name}.test`, platform: "frr", ...more };
    return (await admin.call(createDevice, { body })).id;
  };
  const a = await add("osl-sw1");
  const b = await add("OSL-sw22", { platform: "linux" });
  const c = await add("osl_sw3", { tags: ["switch"] });
  const tagged = async (tags: string) => {
    const { items } = await admin.call(listDevices, { query: { siteId, tags } });
    return items.map(({ id }) => id);
  };
  const rule = { tag: "switch", name: "osl?sw*", platform: "frr" };
  const preview = await admin.call(previewTagRule, { body: rule });
  assert.deepEqual([preview.fits, preview.tagged], [2, 1]);
  assert.deepEqual(preview.examples.map(({ deviceId }) => deviceId), [a, c]);
  assert.deepEqual(await tagged("switch"), [c], "a preview tags nothing");
  const { id: ruleId } = await admin.call(createTagRule, { body: rule });
  assert.deepEqual(await tagged("switch"), [a, c]);
  const d = await add("osl.sw4");
  const e = await add("other");
  assert.deepEqual(await tagged("switch"), [a, c, d]);
  await admin.call(updateDevice, { params: { deviceId: e }, body: { name: "osl-sw5" } });
  assert.deepEqual(await tagged("switch"), [a, c, d, e]);
  const params = { ruleId };
  // An underscore is an underscore.
  await admin.call(updateTagRule, { params, body: { name: "osl_*", platform: null, tag: "odd" } });
  assert.deepEqual([await tagged("odd"), await tagged("switch")], [[c], [a, c, d, e]]);
  const none = admin.call(updateTagRule, { params, body: { name: null } });
  await refusedAs("validation", none, "#/name");
  for (const name of ["", "*".repeat(11), "a\0b"]) {
    await refusedAs(
      "validation",
      admin.call(createTagRule, { body: { tag: "x", name } }),
      "#/name",
    );
  }
  const local = { name: "tags-local", actions: ["devices:*" as const, "tags:read" as const] };
  const person = await makePerson(plane, { ...local, selector: { siteIds: [siteId] } });
  assert.equal((await person.call(getTagRule, { params })).tag, "odd");
  await refusedAs("forbidden", person.call(deleteTagRule, { params }));
  await admin.call(deleteTagRule, { params });
  assert.deepEqual((await admin.call(listTagRules, {})).items, []);
  assert.deepEqual(await tagged("odd"), [c], "devices keep what a rule gave");
  assert.deepEqual((await admin.call(getDevice, { params: { deviceId: b } })).tags, []);
});

Deno.test("facts are kept from backups, found by patterns, and tag by the model as soon as it is known", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("facts");
  const { id: deviceId } = await addTagged(siteId);
  const { id: other } = await addTagged(siteId);
  const body = { tag: "nine-k", model: "C9?00*" };
  const { id: ruleId } = await admin.call(createTagRule, { body });
  const { services } = plane;
  const facts = { model: "C9300-48P", serialNumber: "FOC1234", osVersion: "17.9.4a" };
  await tell(deviceId, facts);
  await tell(other, { osVersion: "17.12.1" });
  const params = { deviceId };
  const known = await admin.call(getDevice, { params });
  assert.deepEqual(known.tags, ["nine-k"]);
  const { model, serialNumber, osVersion } = known;
  assert.deepEqual({ model, serialNumber, osVersion }, facts);
  const find = async (query: object) => {
    const { items } = await admin.call(listDevices, { query: { siteId, ...query } });
    return items.map(({ id }) => id);
  };
  assert.deepEqual(await find({ model: "c9300*" }), [deviceId]);
  assert.deepEqual(await find({ serialNumber: "foc1234" }), [deviceId]);
  assert.deepEqual(await find({ osVersion: "17.*" }), [deviceId, other]);
  assert.deepEqual(await find({ osVersion: "17" }), []);
  // What it does not say again is still known.
  await tell(deviceId, { osVersion: "17.12.1" });
  const later = await admin.call(getDevice, { params });
  assert.deepEqual([later.model, later.osVersion], ["C9300-48P", "17.12.1"]);
  await admin.call(deleteTagRule, { params: { ruleId } });

  async function tell(deviceId: DeviceId, facts: object): Promise<void> {
    const device = { siteId, deviceId };
    const text = new TextEncoder().encode(frrConfiguration());
    const reported = await upload(services, device, text);
    const outcome = { ...reported.outcome, facts };
    const examined = await examineBackup(database.db, { ...reported, outcome });
    assert.ok(examined.ok);
    const attempt = attemptOf(reported);
    await inTransaction(
      database.db,
      (tx) => recordBackup(tx, { ...services, attempt, examined }),
    );
  }
});

Deno.test("editDevices() changes as many devices as were expected, or none, and audits each", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("edited");
  const [a, b, c] = [
    await addTagged(siteId, ["old", "kept"]),
    await addTagged(siteId, ["old"]),
    await addTagged(siteId),
  ];
  const archived = await addTagged(siteId, ["old"]);
  await admin.call(archiveDevice, { params: { deviceId: archived.id } });
  const change = { addTags: ["new"], removeTags: ["OLD"], owner: "Night shift", idleSeconds: 90 };
  const filter = { siteId, tags: "old" };
  const wrong = admin.call(editDevices, { body: { filter, expected: 3, change } });
  const problem = await refusedAs("conflict", wrong, "#/expected");
  assert.match(problem.message, /are 2/);
  const read = async (deviceId: DeviceId) => {
    const { tags, owner, idleSeconds } = await admin.call(getDevice, { params: { deviceId } });
    return [tags, owner, idleSeconds];
  };
  const { idleSeconds } = c;
  assert.deepEqual(await read(a.id), [["kept", "old"], "", idleSeconds]);
  const done = await admin.call(editDevices, { body: { filter, expected: 2, change } });
  assert.equal(done.changed, 2);
  assert.deepEqual(await read(a.id), [["kept", "new"], "Night shift", 90]);
  assert.deepEqual(await read(b.id), [["new"], "Night shift", 90]);
  assert.deepEqual(await read(c.id), [[], "", idleSeconds]);
  assert.deepEqual(await read(archived.id), [["old"], "", idleSeconds]);
  const rows = await database.sql`
    select target_id from audit_rows where action = 'device.update' and site_id = ${siteId}`;
  assert.deepEqual(rows.map((row) => row.target_id).sort(), [a.id, b.id].sort());
  const here = { name: "edits", actions: ["devices:*" as const], selector: { siteIds: [siteId] } };
  const local = await makePerson(plane, here);
  const far = await addTagged(await newSite("far"));
  const windows = [{ from: "22:00", to: "04:00" }];
  const both = { deviceIds: [a.id, far.id], expected: 2, change: { windows } };
  await refusedAs("conflict", local.call(editDevices, { body: both }), "#/expected");
  const own = { deviceIds: [a.id, c.id], expected: 2, change: { windows } };
  assert.equal((await local.call(editDevices, { body: own })).changed, 2);
  assert.deepEqual((await admin.call(getDevice, { params: { deviceId: c.id } })).windows, windows);
  const nowhere = crypto.randomUUID() as CredentialId;
  const missing = { ...own, change: { credentialId: nowhere } };
  await refusedAs(
    "validation",
    admin.call(editDevices, { body: missing }),
    "#/change/credentialId",
  );
  const many = Array.from({ length: 50 }, (_, n) => `many-${n}`);
  const tooMany = { ...own, change: { addTags: many } };
  await refusedAs("validation", admin.call(editDevices, { body: tooMany }), "#/change/addTags");
  await refusedAs(
    "validation",
    admin.call(editDevices, { body: { ...own, change: {} } }),
    "#/change",
  );
});

Deno.test("a tag is renamed on all its devices or deleted, unless a policy selects by it or a rule gives it", async () => {
  const admin = await plane.administrator();
  const siteId = await newSite("names");
  const { id: deviceId } = await addTagged(siteId, ["first name", "other name"]);
  const { items } = await admin.call(listTags, { query: { limit: 500 } });
  const idOf = (name: string) => items.find((tag) => tag.name === name)?.id ?? assert.fail(name);
  const params = { tagId: idOf("first name") };
  const taken = admin.call(renameTag, { params, body: { name: "OTHER name" } });
  await refusedAs("conflict", taken, "#/name");
  const schedule = { kind: "daily" as const, time: "12:00" };
  const selection = { siteIds: [siteId], tags: 'not "FIRST name"' };
  const policy = { name: "by name", kind: "backup_config" as const, schedule, selection };
  const { id: policyId } = await admin.call(createPolicy, { body: policy });
  await refusedAs("in-use", admin.call(renameTag, { params, body: { name: "second name" } }));
  await refusedAs("in-use", admin.call(deleteTag, { params }));
  await admin.call(deletePolicy, { params: { policyId } });
  const renamed = await admin.call(renameTag, { params, body: { name: "second name" } });
  assert.equal(renamed.name, "second name");
  const read = async () => (await admin.call(getDevice, { params: { deviceId } })).tags;
  assert.deepEqual(await read(), ["other name", "second name"]);
  const rule = { tag: "second name", name: "no-such-device" };
  const { id: ruleId } = await admin.call(createTagRule, { body: rule });
  await refusedAs("in-use", admin.call(deleteTag, { params }));
  await admin.call(deleteTagRule, { params: { ruleId } });
  await admin.call(deleteTag, { params });
  assert.deepEqual(await read(), ["other name"]);
  await refusedAs("not-found", admin.call(deleteTag, { params }));
});

Deno.test("a tag belongs to the tenant of its device", async () => {
  const admin = await plane.administrator();
  const ours = await newSite("ours");
  const { id: tenantId } = await admin.call(createTenant, { body: { name: "Other" } });
  const { id: siteId } = await admin.call(createSite, { body: { name: "theirs", tenantId } });
  await addTagged(siteId, ["shared name"]);
  const own = await addTagged(ours, ["Shared Name"]);
  assert.deepEqual(own.tags, ["Shared Name"]);
  const rows = await database.sql`
    select name from tags where lower(name) = 'shared name' order by name`;
  assert.deepEqual(rows.map(({ name }) => name).sort(), ["Shared Name", "shared name"]);
  const both = await admin.call(listDevices, { query: { tags: '"shared name"' } });
  assert.equal(both.items.length, 2);
});
