import assert from "node:assert/strict";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import { createPermission } from "@rookery/shared/api/permissions.ts";
import {
  createRole,
  deleteRole,
  getRole,
  listRoles,
  updateRole,
} from "@rookery/shared/api/roles.ts";
import { getMe } from "@rookery/shared/api/sessions.ts";
import { createUser, deleteUser } from "@rookery/shared/api/users.ts";
import { PermissionId, RoleId } from "@rookery/shared/ids.ts";
import { ADMINISTRATOR, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";
import { refusedAs } from "../support/refused_as.ts";

const database = testDatabase();
const plane = testControlPlane(database);
const NOWHERE = "00000000-0000-4000-8000-000000000000";

Deno.test("the built-in roles are there from the start: administrator, operator, viewer, auditor", async () => {
  const admin = await plane.administrator();
  const { items } = await admin.call(listRoles, {});
  const builtIn = items.filter((role) => role.builtIn);
  assert.deepEqual(builtIn.map((role) => role.name), [
    "Administrator",
    "Operator",
    "Viewer",
    "Auditor",
  ]);
  const may: Record<string, readonly string[]> = {};
  for (const { name, id } of builtIn) {
    const username = name.toLowerCase();
    await admin.call(createUser, { body: { username, password: PASSWORD, roleIds: [id] } });
    const person = await plane.logIn(username, PASSWORD);
    may[name] = (await person.call(getMe, {})).permissions;
  }
  const everything = (await admin.call(getMe, {})).permissions;
  assert.deepEqual(may.Administrator, everything);
  const { Operator = [], Viewer = [], Auditor = [] } = may;
  assert.ok(Operator.includes("devices:write") && Operator.includes("jobs:write"));
  assert.ok(!Operator.includes("users:write") && !Operator.includes("backups:read_exact"));
  assert.ok(Viewer.includes("backups:read") && Viewer.every((name) => name.endsWith(":read")));
  assert.ok(Auditor.includes("audit:read") && !Auditor.includes("backups:read"));
  assert.ok(Auditor.every((name) => name.endsWith(":read")));
});

Deno.test("list: the roles that were made are listed with their ids, over pages too", async () => {
  const admin = await plane.administrator();
  const made = [await makeRole("listed one"), await makeRole("listed two")];
  const { items } = await admin.call(listRoles, { query: { limit: 500 } });
  const own = items.filter(({ name }) => name.startsWith("listed"));
  assert.deepEqual(own, made);
  const first = await admin.call(listRoles, { query: { limit: items.length - 1 } });
  const cursor = first.nextCursor ?? assert.fail();
  const rest = await admin.call(listRoles, { query: { limit: 500, cursor } });
  assert.deepEqual([...first.items, ...rest.items], items);
});

Deno.test("get: a role is read by its id with the same fields; not found", async () => {
  const admin = await plane.administrator();
  const role = await makeRole("read");
  assert.deepEqual(await admin.call(getRole, { params: { roleId: role.id } }), role);
  await refusedAs("not-found", admin.call(getRole, { params: { roleId: NO_ROLE } }));
});

Deno.test("create: the fields are those given, and the row is stored with who made it", async () => {
  const admin = await plane.administrator();
  const permissionId = await makePermission("for create");
  const body = { name: "created", description: "of a test", permissionIds: [permissionId] };
  const role = await admin.call(createRole, { body });
  const { id, createdAt: _at, ...fields } = role;
  assert.deepEqual(fields, { ...body, builtIn: false });
  const [row] = await database.sql`select name, description, built_in from roles where id = ${id}`;
  assert.deepEqual(row, { name: "created", description: "of a test", built_in: false });
  const { items: [audit] } = await admin.call(listAuditRows, { query: { targetId: id } });
  assert.deepEqual([audit?.action, audit?.actorName], ["role.create", "admin"]);
  assert.deepEqual(audit?.detail, body);
});

Deno.test("create: a name that is taken is refused, also in another case", async () => {
  const admin = await plane.administrator();
  await makeRole("Duplicate");
  for (const name of ["Duplicate", "DUPLICATE", " duplicate ", "operator"]) {
    await refusedAs("conflict", admin.call(createRole, { body: { name } }), "#/name");
  }
  const other = await makeRole("other");
  const change = { params: { roleId: other.id }, body: { name: "dupLICate" } };
  await refusedAs("conflict", admin.call(updateRole, change), "#/name");
});

Deno.test("create: a permission that does not exist is refused by its place, and nothing is stored", async () => {
  const admin = await plane.administrator();
  const permissionIds = [await makePermission("real"), PermissionId.parse(NOWHERE)];
  const body = { name: "half", permissionIds };
  await refusedAs("validation", admin.call(createRole, { body }), "#/permissionIds/1");
  const [row] = await database.sql`select count(*)::int as roles from roles where name = 'half'`;
  assert.equal(row?.roles, 0);
});

Deno.test("update: what is returned and what is stored are what was given; the rest stays", async () => {
  const admin = await plane.administrator();
  const role = await makeRole("before");
  const params = { roleId: role.id };
  const permissionIds = [await makePermission("for update")];
  const changed = await admin.call(updateRole, { params, body: { name: "after", permissionIds } });
  assert.deepEqual(changed, { ...role, name: "after", permissionIds });
  assert.deepEqual(await admin.call(getRole, { params }), changed);
  const emptied = await admin.call(updateRole, { params, body: { permissionIds: [] } });
  assert.deepEqual(emptied.permissionIds, []);
  const { items: [, audit] } = await admin.call(listAuditRows, { query: { targetId: role.id } });
  assert.deepEqual(audit?.detail, {
    before: { name: "before", permissionIds: [] },
    after: { name: "after", permissionIds },
  });
});

Deno.test("update and delete: not found", async () => {
  const admin = await plane.administrator();
  const params = { roleId: NO_ROLE };
  await refusedAs("not-found", admin.call(updateRole, { params, body: { name: "nobody's" } }));
  await refusedAs("not-found", admin.call(deleteRole, { params }));
});

Deno.test("delete: the row is gone; a role that somebody has stays until nobody has it", async () => {
  const admin = await plane.administrator();
  const person = await makePerson(plane, { name: "holder", actions: ["sites:read"] });
  const params = { roleId: person.roleId };
  await refusedAs("in-use", admin.call(deleteRole, { params }));
  await admin.call(deleteUser, { params: { userId: person.userId } });
  await admin.call(deleteRole, { params });
  await refusedAs("not-found", admin.call(getRole, { params }));
  const [row] = await database.sql`
    select count(*)::int as kept from role_permissions where role_id = ${person.roleId}`;
  assert.equal(row?.kept, 0);
});

Deno.test("built-in roles can be neither changed nor deleted, not even by an administrator", async () => {
  const admin = await plane.administrator();
  const { items } = await admin.call(listRoles, {});
  for (const { id: roleId } of items.filter((role) => role.builtIn)) {
    const params = { roleId };
    await refusedAs("conflict", admin.call(updateRole, { params, body: { name: "mine" } }));
    const body = { permissionIds: [] };
    await refusedAs("conflict", admin.call(updateRole, { params, body }));
    await refusedAs("conflict", admin.call(deleteRole, { params }));
  }
  const { items: after } = await admin.call(listRoles, {});
  assert.deepEqual(after.slice(0, 4), items.slice(0, 4));
});

Deno.test("nobody makes, changes or deletes a role that reaches further than they do", async () => {
  const admin = await plane.administrator();
  const actions = ["roles:read", "roles:write", "devices:read"] as const;
  const keeper = await makePerson(plane, { name: "keeper", actions: [...actions] });
  const more = await makePermission("more", "devices:*");
  const own = { name: "own", permissionIds: [keeper.permissionId] };
  const role = await keeper.call(createRole, { body: own });
  const wide = { name: "wide", permissionIds: [keeper.permissionId, more] };
  await refusedAs("forbidden", keeper.call(createRole, { body: wide }));
  const params = { roleId: role.id };
  const widened = { permissionIds: wide.permissionIds };
  await refusedAs("forbidden", keeper.call(updateRole, { params, body: widened }));
  await admin.call(updateRole, { params, body: widened });
  await refusedAs("forbidden", keeper.call(updateRole, { params, body: { name: "renamed" } }));
  await refusedAs("forbidden", keeper.call(deleteRole, { params }));
  assert.deepEqual((await admin.call(getRole, { params })).permissionIds, wide.permissionIds);
});

const PASSWORD = ADMINISTRATOR.password;
const NO_ROLE = RoleId.parse(NOWHERE);

async function makeRole(name: string) {
  return await (await plane.administrator()).call(createRole, { body: { name } });
}

async function makePermission(name: string, action: "devices:read" | "devices:*" = "devices:read") {
  const admin = await plane.administrator();
  return (await admin.call(createPermission, { body: { name, actions: [action] } })).id;
}
