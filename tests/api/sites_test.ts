import assert from "node:assert/strict";
import { createDevice } from "@rookery/shared/api/devices.ts";
import {
  createSite,
  deleteSite,
  getSite,
  listSites,
  updateSite,
} from "@rookery/shared/api/sites.ts";
import {
  createTenant,
  deleteTenant,
  listTenants,
  updateTenant,
} from "@rookery/shared/api/tenants.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const plane = testControlPlane(testDatabase());

Deno.test("one tenant exists from the start, and a site belongs to it when none is named", async () => {
  const admin = await plane.administrator();
  const { items: [tenant, ...others] } = await admin.call(listTenants, {});
  assert.deepEqual(others, []);
  const site = await admin.call(createSite, { body: { name: "Oslo", timeZone: "Europe/Oslo" } });
  assert.equal(site.tenantId, tenant?.id);
  assert.deepEqual(
    [site.hostKeyPolicy, site.maxLive, site.leaseTtlSeconds, site.shrinkPercent, site.paused],
    ["first_use", 10, 180, 50, false],
  );
});

Deno.test("the last tenant cannot be deleted, also not by two deletions at once", async () => {
  const admin = await plane.administrator();
  const { items: [first = assert.fail()] } = await admin.call(listTenants, {});
  const other = await admin.call(createTenant, { body: { name: "Only for a moment" } });
  const sites = (await admin.call(listSites, {})).items;
  for (const { id: siteId } of sites) await admin.call(deleteSite, { params: { siteId } });
  const ended = await Promise.allSettled(
    [first, other].map(({ id }) => admin.call(deleteTenant, { params: { tenantId: id } })),
  );
  assert.equal(ended.filter(({ status }) => status === "fulfilled").length, 1);
  const { items: [last = assert.fail(), ...more] } = await admin.call(listTenants, {});
  assert.deepEqual(more, []);
  await refusedAs("in-use", admin.call(deleteTenant, { params: { tenantId: last.id } }));
  await admin.call(updateTenant, { params: { tenantId: last.id }, body: { name: "Default" } });
});

Deno.test("createSite() must be told the tenant where there are several", async () => {
  const admin = await plane.administrator();
  const tenant = await admin.call(createTenant, { body: { name: "Second" } });
  await refusedAs("validation", admin.call(createSite, { body: { name: "Whose" } }), "#/tenantId");
  const site = await admin.call(createSite, { body: { name: "Oslo", tenantId: tenant.id } });
  const { items } = await admin.call(listSites, { query: { tenantId: tenant.id } });
  assert.deepEqual(items.map(({ id }) => id), [site.id]);
  await refusedAs("in-use", admin.call(deleteTenant, { params: { tenantId: tenant.id } }));
  await admin.call(deleteSite, { params: { siteId: site.id } });
  const renamed = { params: { tenantId: tenant.id }, body: { name: "default" } };
  await refusedAs("conflict", admin.call(updateTenant, renamed), "#/name");
  await admin.call(deleteTenant, { params: { tenantId: tenant.id } });
});

Deno.test("updateSite() refuses what is out of bounds and keeps what it is not given", async () => {
  const admin = await plane.administrator();
  const site = await admin.call(createSite, { body: { name: "Bounds", maxLive: 3 } });
  const params = { siteId: site.id };
  const wrong = [
    { leaseTtlSeconds: 29 },
    { leaseTtlSeconds: 1_801 },
    { maxLive: 0 },
    { maxQueued: 0 },
    { shrinkPercent: 101 },
    { timeZone: "Europe/Atlantis" },
    { timeZone: "+02:00" },
    { name: "" },
    { name: "a\0b" },
  ];
  for (const body of wrong) {
    const [field] = Object.keys(body);
    await refusedAs("validation", admin.call(updateSite, { params, body }), `#/${field}`);
  }
  const changed = await admin.call(updateSite, { params, body: { paused: true } });
  assert.deepEqual([changed.paused, changed.maxLive, changed.name], [true, 3, "Bounds"]);
  assert.deepEqual(await admin.call(getSite, { params }), changed);
});

Deno.test("two sites of a tenant cannot share a name; a site with devices cannot be deleted", async () => {
  const admin = await plane.administrator();
  const { id: siteId } = await admin.call(createSite, { body: { name: "Twin" } });
  await refusedAs("conflict", admin.call(createSite, { body: { name: "TWIN" } }), "#/name");
  const body = { siteId, name: "core", host: "192.0.2.1", platform: "frr" };
  await admin.call(createDevice, { body });
  await refusedAs("in-use", admin.call(deleteSite, { params: { siteId } }));
  await admin.call(getSite, { params: { siteId } });
});

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
