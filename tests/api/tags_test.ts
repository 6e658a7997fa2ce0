import assert from "node:assert/strict";
import { createDevice, getDevice, listDevices, updateDevice } from "@rookery/shared/api/devices.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import { createTenant } from "@rookery/shared/api/tenants.ts";
import type { SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

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
