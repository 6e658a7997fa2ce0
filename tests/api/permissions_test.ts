import assert from "node:assert/strict";
import { PERMISSIONS } from "@rookery/shared/api/access.ts";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import { createDevice } from "@rookery/shared/api/devices.ts";
import {
  createPermission,
  deletePermission,
  getPermission,
  listMyPermissions,
  listPermissions,
  updatePermission,
} from "@rookery/shared/api/permissions.ts";
import { updateRole } from "@rookery/shared/api/roles.ts";
import { getMe } from "@rookery/shared/api/sessions.ts";
import { createSite, deleteSite, listSites, updateSite } from "@rookery/shared/api/sites.ts";
import { createTenant, listTenants } from "@rookery/shared/api/tenants.ts";
import { updateUser } from "@rookery/shared/api/users.ts";
import { listDeviceViewers, listSiteViewers } from "@rookery/shared/api/viewers.ts";
import { PermissionId, type SiteId, type TenantId } from "@rookery/shared/ids.ts";
import { ADMINISTRATOR, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";
import { refusedAs } from "../support/refused_as.ts";

const database = testDatabase();
const plane = testControlPlane(database);
const NO_PERMISSION = PermissionId.parse("00000000-0000-4000-8000-000000000000");

Deno.test("list: the permissions that were made are listed with their ids, over pages too", async () => {
  const admin = await plane.administrator();
  const made = [await makePermission("listed one"), await makePermission("listed two")];
  const { items } = await admin.call(listPermissions, { query: { limit: 500 } });
  assert.deepEqual(items.filter(({ name }) => name.startsWith("listed")), made);
  const first = await admin.call(listPermissions, { query: { limit: items.length - 1 } });
  const cursor = first.nextCursor ?? assert.fail();
  const rest = await admin.call(listPermissions, { query: { cursor } });
  assert.deepEqual([...first.items, ...rest.items], items);
});

Deno.test("get: a permission is read by its id with the same fields; not found", async () => {
  const admin = await plane.administrator();
  const made = await makePermission("read");
  assert.deepEqual(await admin.call(getPermission, { params: { permissionId: made.id } }), made);
  const params = { permissionId: NO_PERMISSION };
  await refusedAs("not-found", admin.call(getPermission, { params }));
});

Deno.test("create: the fields are those given, and the row is stored with who made it", async () => {
  const admin = await plane.administrator();
  const { siteId, tenantId } = await makeSite("created");
  const body = {
    name: "created",
    description: "of a test",
    actions: ["backups:*" as const, "devices:read" as const],
    selector: { tenantIds: [tenantId], siteIds: [siteId] },
  };
  const { id, createdAt: _at, ...fields } = await admin.call(createPermission, { body });
  assert.deepEqual(fields, { ...body, builtIn: false });
  const [row] = await database.sql`
    select name, actions, tenant_ids, site_ids from permissions where id = ${id}`;
  const stored = { tenant_ids: [tenantId], site_ids: [siteId] };
  assert.deepEqual(row, { name: "created", actions: body.actions, ...stored });
  const { items: [audit] } = await admin.call(listAuditRows, { query: { targetId: id } });
  assert.deepEqual([audit?.action, audit?.actorName], ["permission.create", "admin"]);
  assert.deepEqual(audit?.detail, body);
});

Deno.test("create: a name that is taken is refused, also in another case", async () => {
  const admin = await plane.administrator();
  await makePermission("Duplicate");
  const actions = ["sites:read" as const];
  for (const name of ["Duplicate", "dupliCATE", "everything"]) {
    await refusedAs(
      "conflict",
      admin.call(createPermission, { body: { name, actions } }),
      "#/name",
    );
  }
  const other = await makePermission("other");
  const change = { params: { permissionId: other.id }, body: { name: "DUPLICATE" } };
  await refusedAs("conflict", admin.call(updatePermission, change), "#/name");
});

Deno.test("create: what cannot be narrowed is refused by its place, in words that say what can be", async () => {
  const admin = await plane.administrator();
  const { siteId, tenantId } = await makeSite("narrow");
  const refuse = async (body: Record<string, unknown>, pointer: string, words: RegExp) => {
    const sent = { name: "refused", actions: ["devices:read"], ...body } as never;
    const error = await refusedAs(
      "validation",
      admin.call(createPermission, { body: sent }),
      pointer,
    );
    assert.match(error.errors.find((field) => field.pointer === pointer)?.detail ?? "", words);
  };
  const site = { selector: { siteIds: [siteId] } };
  const tags = { siteIds: [siteId], tags: ["core"] };
  await refuse({ selector: tags }, "#/selector/tags", /cannot be narrowed to tags/);
  await refuse({ selector: {} }, "#/selector", /at least one tenant or site/);
  await refuse({ actions: ["sites:read", "users:read"], ...site }, "#/actions/1", /no site/);
  await refuse({ actions: ["users:*"], ...site }, "#/actions/0", /no site/);
  await refuse({ actions: ["credentials:write"], ...site }, "#/actions/0", /name tenantIds/);
  await refuse({ actions: ["devices:fly"] }, "#/actions/0", /must be one of/);
  const nowhere = NO_PERMISSION as unknown as SiteId & TenantId;
  const places = { tenantIds: [tenantId, nowhere], siteIds: [nowhere] };
  await refuse({ selector: places }, "#/selector/tenantIds/1", /no such tenant/);
  await refuse({ selector: places }, "#/selector/siteIds/0", /no such site/);
  const [row] = await database
    .sql`select count(*)::int as n from permissions where name = 'refused'`;
  assert.equal(row?.n, 0);
});

Deno.test("update: what is returned and what is stored are what was given, and it holds at once", async () => {
  const admin = await plane.administrator();
  const [one, other] = [await makeSite("update one"), await makeSite("update other")];
  const selector = { siteIds: [one.siteId] };
  const person = await makePerson(plane, { name: "updated", actions: ["sites:read"], selector });
  assert.deepEqual(await sitesOf(person), [one.siteId]);
  const params = { permissionId: person.permissionId };
  const before = await admin.call(getPermission, { params });
  const body = { selector: { tenantIds: [], siteIds: [other.siteId] }, description: "moved" };
  const changed = await admin.call(updatePermission, { params, body });
  assert.deepEqual(changed, { ...before, ...body });
  assert.deepEqual(await admin.call(getPermission, { params }), changed);
  assert.deepEqual(await sitesOf(person), [other.siteId]);
  const wider = { actions: ["sites:read" as const, "users:read" as const] };
  await refusedAs(
    "validation",
    admin.call(updatePermission, { params, body: wider }),
    "#/actions/1",
  );
  const { items: [audit] } = await admin.call(listAuditRows, { query: { targetId: changed.id } });
  assert.deepEqual(audit?.detail, {
    before: { selector: before.selector, description: "" },
    after: body,
  });
});

Deno.test("update and delete: not found", async () => {
  const admin = await plane.administrator();
  const params = { permissionId: NO_PERMISSION };
  await refusedAs("not-found", admin.call(updatePermission, { params, body: { name: "none" } }));
  await refusedAs("not-found", admin.call(deletePermission, { params }));
});

Deno.test("delete: the row is gone; a permission that a role has stays until no role has it", async () => {
  const admin = await plane.administrator();
  const person = await makePerson(plane, { name: "deleted", actions: ["sites:read"] });
  const params = { permissionId: person.permissionId };
  await refusedAs("in-use", admin.call(deletePermission, { params }));
  const without = { params: { roleId: person.roleId }, body: { permissionIds: [] } };
  await admin.call(updateRole, without);
  await refusedAs("forbidden", person.call(listSites, {}));
  await admin.call(deletePermission, { params });
  await refusedAs("not-found", admin.call(getPermission, { params }));
});

Deno.test("built-in permissions can be neither changed nor deleted", async () => {
  const admin = await plane.administrator();
  const { items } = await admin.call(listPermissions, {});
  const builtIn = items.filter((permission) => permission.builtIn);
  assert.deepEqual(builtIn.map(({ name }) => name), ["Everything", "Operate", "View", "Audit"]);
  for (const { id: permissionId } of builtIn) {
    const params = { permissionId };
    const body = { actions: ["sites:read" as const] };
    await refusedAs("conflict", admin.call(updatePermission, { params, body }));
    await refusedAs("conflict", admin.call(deletePermission, { params }));
  }
});

Deno.test("nobody makes or changes a permission that reaches further than they do", async () => {
  const admin = await plane.administrator();
  const actions = ["roles:write" as const, "roles:read" as const, "sites:read" as const];
  const keeper = await makePerson(plane, { name: "keeper", actions });
  const body = { name: "kept", actions: ["sites:read" as const] };
  const { id: permissionId } = await keeper.call(createPermission, { body });
  for (const action of ["*", "sites:*", "devices:read"] as const) {
    const wide = { name: "wide", actions: [action] };
    await refusedAs("forbidden", keeper.call(createPermission, { body: wide }));
    const change = { params: { permissionId }, body: { actions: [action] } };
    await refusedAs("forbidden", keeper.call(updatePermission, change));
  }
  const wide = await admin.call(createPermission, { body: { name: "wide", actions: ["sites:*"] } });
  const params = { permissionId: wide.id };
  await refusedAs("forbidden", keeper.call(updatePermission, { params, body: { name: "taken" } }));
  await refusedAs("forbidden", keeper.call(deletePermission, { params }));
  await keeper.call(deletePermission, { params: { permissionId } });
});

Deno.test("a selector of a tenant reaches its sites, those to come as well, and lets make them there alone", async () => {
  const admin = await plane.administrator();
  const { tenantId, siteId } = await makeSite("whole");
  await makeSite("beside");
  const person = await makePerson(plane, {
    name: "whole",
    actions: ["sites:*", "tenants:read", "credentials:*"],
    selector: { tenantIds: [tenantId] },
  });
  assert.deepEqual(await sitesOf(person), [siteId]);
  const later = await admin.call(createSite, { body: { name: "later", tenantId } });
  assert.deepEqual(await sitesOf(person), [siteId, later.id]);
  const own = await person.call(createSite, { body: { name: "own" } });
  assert.equal(own.tenantId, tenantId);
  for (const id of [siteId, later.id, own.id]) {
    await person.call(deleteSite, { params: { siteId: id } });
  }
  const { items } = await person.call(listTenants, {});
  assert.deepEqual(items.map(({ id }) => id), [tenantId]);
});

Deno.test("a selector of a site lets change the site and make none, and a deleted site grants nothing", async () => {
  const admin = await plane.administrator();
  const { siteId } = await makeSite("single");
  const selector = { siteIds: [siteId] };
  const person = await makePerson(plane, { name: "single", actions: ["sites:*"], selector });
  await person.call(updateSite, { params: { siteId }, body: { paused: true } });
  await refusedAs("forbidden", person.call(createSite, { body: { name: "another" } }));
  await admin.call(deleteSite, { params: { siteId } });
  assert.deepEqual(await sitesOf(person), []);
});

Deno.test("roles come to what their permissions come to together, each as far as it reaches", async () => {
  const admin = await plane.administrator();
  const [one, other] = [await makeSite("union one"), await makeSite("union other")];
  const person = await makePerson(plane, {
    name: "union",
    actions: ["sites:read", "devices:read"],
    selector: { siteIds: [one.siteId] },
  });
  const more = await admin.call(createPermission, {
    body: {
      name: "union more",
      actions: ["sites:read"],
      selector: { siteIds: [other.siteId] },
    },
  });
  const permissionIds = [person.permissionId, more.id];
  await admin.call(updateRole, { params: { roleId: person.roleId }, body: { permissionIds } });
  assert.deepEqual(await sitesOf(person), [one.siteId, other.siteId]);
  const { items } = await person.call(listMyPermissions, {});
  assert.deepEqual(
    items.map(({ permission, siteIds }) => [permission, siteIds.toSorted()]).sort(),
    [
      ["devices:read", [one.siteId]],
      ["sites:read", [one.siteId, other.siteId].sort()],
    ],
  );
});

Deno.test("me/permissions: an administrator may do everything everywhere, nobody special nothing", async () => {
  const admin = await plane.administrator();
  const { items } = await admin.call(listMyPermissions, {});
  assert.deepEqual(
    items,
    Object.entries(PERMISSIONS).map(([permission, description]) => ({
      ...{ permission, description, everywhere: true },
      ...{ tenantIds: [], siteIds: [] },
    })),
  );
  const person = await makePerson(plane, { name: "special", actions: ["tasks:read"] });
  const { items: [grant, ...others] } = await person.call(listMyPermissions, {});
  assert.deepEqual([grant?.permission, grant?.everywhere, others], ["tasks:read", true, []]);
  const params = { userId: person.userId };
  await admin.call(updateUser, { params, body: { roleIds: [] } });
  assert.deepEqual(await person.call(listMyPermissions, {}), { items: [] });
});

Deno.test("an API token of somebody with roles reaches as far as they do by now, and never further", async () => {
  const admin = await plane.administrator();
  const [one, other] = [await makeSite("token one"), await makeSite("token other")];
  const selector = { siteIds: [one.siteId] };
  const actions = ["sites:read" as const, "jobs:read" as const];
  const person = await makePerson(plane, { name: "bearer", actions, selector });
  const foreign = { permissions: ["sites:read" as const], siteIds: [other.siteId] };
  const asked = person.call(createApiToken, { body: { name: "foreign", ...foreign } });
  await refusedAs("validation", asked, "#/siteIds/0");
  const { secret } = await person.call(createApiToken, { body: { name: "hers" } });
  const headers = { authorization: `Bearer ${secret}` };
  const seen = async () => (await plane.call(listSites, {}, { headers })).items.map(({ id }) => id);
  assert.deepEqual(await seen(), [one.siteId]);
  assert.deepEqual((await plane.call(getMe, {}, { headers })).permissions, [
    "sites:read",
    "jobs:read",
  ]);
  const body = { selector: { siteIds: [other.siteId] } };
  await admin.call(updatePermission, { params: { permissionId: person.permissionId }, body });
  assert.deepEqual(await seen(), [other.siteId]);
});

Deno.test("who can see this: administrators and whoever has a role that reaches the site, with what they may", async () => {
  const admin = await plane.administrator();
  const [one, other] = [await makeSite("seen one"), await makeSite("seen other")];
  const device = { siteId: one.siteId, name: "seen", host: "192.0.2.1", platform: "frr" };
  const { id: deviceId } = await admin.call(createDevice, { body: device });
  const near = await makePerson(plane, {
    name: "near",
    actions: ["devices:read", "sites:read"],
    selector: { tenantIds: [one.tenantId] },
  });
  await makePerson(plane, {
    name: "far",
    actions: ["devices:read"],
    selector: { siteIds: [other.siteId] },
  });
  await makePerson(plane, { name: "aside", actions: ["users:read"] });
  const { items } = await admin.call(listSiteViewers, { params: { siteId: one.siteId } });
  const names = items.map(({ username }) => username);
  assert.ok(names.includes(ADMINISTRATOR.username) && names.includes("near"));
  assert.ok(!names.includes("far") && !names.includes("aside"));
  const found = items.find(({ userId }) => userId === near.userId);
  assert.deepEqual(found?.permissions, ["devices:read", "sites:read"]);
  assert.deepEqual(found?.roleIds, [near.roleId]);
  const ofDevice = await admin.call(listDeviceViewers, { params: { deviceId } });
  assert.deepEqual(ofDevice.items, items);
  const first = await admin.call(listSiteViewers, {
    params: { siteId: one.siteId },
    query: { limit: 1 },
  });
  assert.deepEqual(first.items, items.slice(0, 1));
  await admin.call(updateUser, { params: { userId: near.userId }, body: { disabled: true } });
  const after = await admin.call(listDeviceViewers, { params: { deviceId } });
  assert.ok(after.items.every(({ username }) => username !== "near"));
});

async function makePermission(name: string) {
  const admin = await plane.administrator();
  return await admin.call(createPermission, { body: { name, actions: ["sites:read"] } });
}

/** A tenant with one site. */
async function makeSite(name: string) {
  const admin = await plane.administrator();
  const { id: tenantId } = await admin.call(createTenant, { body: { name } });
  const { id: siteId } = await admin.call(createSite, { body: { name, tenantId } });
  return { tenantId, siteId };
}

async function sitesOf(person: { readonly call: typeof plane.call }): Promise<SiteId[]> {
  return (await person.call(listSites, {})).items.map(({ id }) => id);
}
