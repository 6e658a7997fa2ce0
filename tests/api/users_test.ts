import assert from "node:assert/strict";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import { getMe } from "@rookery/shared/api/sessions.ts";
import {
  createUser,
  deleteUser,
  getUser,
  listUsers,
  updateUser,
} from "@rookery/shared/api/users.ts";
import { RoleId, UserId } from "@rookery/shared/ids.ts";
import { ADMINISTRATOR, type Person, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";
import { refusedAs } from "../support/refused_as.ts";

const database = testDatabase();
const plane = testControlPlane(database);
const { password } = ADMINISTRATOR;
const NOWHERE = "00000000-0000-4000-8000-000000000000";
const NOBODY = UserId.parse(NOWHERE);
const ADMINISTRATORS = RoleId.parse("00000000-0000-7000-8000-000000000001");
const VIEWERS = RoleId.parse("00000000-0000-7000-8000-000000000003");

Deno.test("list: the users that were made are listed with their ids, over pages too", async () => {
  const admin = await plane.administrator();
  const made = [await makeUser("listed.one"), await makeUser("listed.two")];
  const { items } = await admin.call(listUsers, {});
  assert.deepEqual(items.filter(({ username }) => username.startsWith("listed")), made);
  const first = await admin.call(listUsers, { query: { limit: items.length - 1 } });
  const cursor = first.nextCursor ?? assert.fail();
  const rest = await admin.call(listUsers, { query: { cursor } });
  assert.deepEqual([...first.items, ...rest.items], items);
});

Deno.test("get: a user is read by the id with the same fields; not found", async () => {
  const admin = await plane.administrator();
  const user = await makeUser("read");
  assert.deepEqual(await admin.call(getUser, { params: { userId: user.id } }), user);
  await refusedAs("not-found", admin.call(getUser, { params: { userId: NOBODY } }));
});

Deno.test("create: the fields are those given and stored; the password stands nowhere, nor in the audit log", async () => {
  const admin = await plane.administrator();
  const body = { username: "created", displayName: "Cia Created", roleIds: [VIEWERS] };
  const user = await admin.call(createUser, { body: { ...body, password } });
  const { id, createdAt: _at, ...fields } = user;
  assert.deepEqual(fields, { ...body, administrator: false, disabledAt: null });
  const [row] = await database.sql`
    select username, display_name, administrator, password_hash from users where id = ${id}`;
  assert.deepEqual([row?.username, row?.display_name, row?.administrator], [
    "created",
    "Cia Created",
    false,
  ]);
  assert.match(row?.password_hash, /^\$argon2id\$/);
  const { items: [audit] } = await admin.call(listAuditRows, { query: { targetId: id } });
  assert.deepEqual([audit?.action, audit?.detail], ["user.create", body]);
  assert.ok(
    (await (await plane.logIn("created", password)).call(getMe, {})).permissions.length > 5,
  );
});

Deno.test("create: a name that is taken is refused, also in another case", async () => {
  const admin = await plane.administrator();
  await makeUser("Duplicate");
  for (const username of ["Duplicate", "DUPLICATE", "Admin"]) {
    await refusedAs("conflict", admin.call(createUser, { body: { username, password } }));
  }
});

Deno.test("create: a role that does not exist is refused by its place, and nobody is made", async () => {
  const admin = await plane.administrator();
  const roleIds = [VIEWERS, RoleId.parse(NOWHERE)];
  const body = { username: "half.made", password, roleIds };
  await refusedAs("validation", admin.call(createUser, { body }), "#/roleIds/1");
  const [row] = await database
    .sql`select count(*)::int as n from users where username = 'half.made'`;
  assert.equal(row?.n, 0);
});

Deno.test("update: what is returned and what is stored are what was given; not found", async () => {
  const admin = await plane.administrator();
  const user = await makeUser("updated");
  const params = { userId: user.id };
  const body = { displayName: "Una Updated", roleIds: [VIEWERS] };
  const changed = await admin.call(updateUser, { params, body });
  assert.deepEqual(changed, { ...user, ...body });
  assert.deepEqual(await admin.call(getUser, { params }), changed);
  const { items: [audit] } = await admin.call(listAuditRows, { query: { targetId: user.id } });
  assert.deepEqual(audit?.detail, { before: { displayName: "", roleIds: [] }, after: body });
  const nobody = { params: { userId: NOBODY }, body };
  await refusedAs("not-found", admin.call(updateUser, nobody));
});

Deno.test("delete: the row is gone with sessions and tokens, the audit log stays; not found", async () => {
  const admin = await plane.administrator();
  const person = await makePerson(plane, { name: "deleted", actions: ["sites:read"] });
  const { secret } = await person.call(createApiToken, { body: { name: "left behind" } });
  const params = { userId: person.userId };
  await admin.call(deleteUser, { params });
  await refusedAs("not-found", admin.call(getUser, { params }));
  await refusedAs("session-required", person.call(getMe, {}));
  const headers = { authorization: `Bearer ${secret}` };
  await refusedAs("session-required", plane.call(getMe, {}, { headers }));
  await refusedAs("not-found", admin.call(deleteUser, { params }));
  const { items } = await admin.call(listAuditRows, { query: { targetId: person.userId } });
  assert.deepEqual(items.map(({ action }) => action), ["user.delete", "user.create"]);
  assert.deepEqual(items[0]?.detail, { username: "deleted", administrator: false });
  await admin.call(createUser, { body: { username: "deleted", password } });
});

Deno.test("disable ends what somebody does, enable lets them in again with the same roles", async () => {
  const admin = await plane.administrator();
  const person = await makePerson(plane, { name: "paused", actions: ["sites:read"] });
  const params = { userId: person.userId };
  const disabled = await admin.call(updateUser, { params, body: { disabled: true } });
  assert.notEqual(disabled.disabledAt, null);
  await refusedAs("session-required", person.call(getMe, {}));
  await refusedAs("invalid-credentials", plane.logIn("paused", password));
  const enabled = await admin.call(updateUser, { params, body: { disabled: false } });
  assert.deepEqual([enabled.disabledAt, enabled.roleIds], [null, [person.roleId]]);
  await refusedAs("session-required", person.call(getMe, {}));
  const again = await plane.logIn("paused", password);
  assert.deepEqual((await again.call(getMe, {})).permissions, ["sites:read"]);
});

Deno.test("the role of administrators and the field are one: each makes an administrator and unmakes one", async () => {
  const admin = await plane.administrator();
  const { id: userId } = await makeUser("promoted");
  const params = { userId };
  const promoted = await admin.call(updateUser, { params, body: { roleIds: [ADMINISTRATORS] } });
  assert.deepEqual([promoted.administrator, promoted.roleIds], [true, [ADMINISTRATORS]]);
  const demoted = await admin.call(updateUser, { params, body: { administrator: false } });
  assert.deepEqual([demoted.administrator, demoted.roleIds], [false, []]);
  const again = await admin.call(updateUser, { params, body: { administrator: true } });
  assert.deepEqual(again.roleIds, [ADMINISTRATORS]);
  const viewing = await admin.call(updateUser, { params, body: { roleIds: [VIEWERS] } });
  assert.deepEqual([viewing.administrator, viewing.roleIds], [false, [VIEWERS]]);
  const both = { administrator: false, roleIds: [ADMINISTRATORS] };
  await refusedAs("validation", admin.call(updateUser, { params, body: both }), "#/administrator");
});

Deno.test("the last administrator can be neither deleted, disabled nor demoted", async () => {
  const admin = await plane.administrator();
  const userId = (await admin.call(getMe, {})).user.id;
  const params = { userId };
  await refusedAs("in-use", admin.call(deleteUser, { params }));
  for (const body of [{ disabled: true }, { administrator: false }, { roleIds: [VIEWERS] }]) {
    await refusedAs("in-use", admin.call(updateUser, { params, body }));
  }
  const { user } = await admin.call(getMe, {});
  assert.deepEqual([user.administrator, user.disabledAt, user.roleIds], [
    true,
    null,
    [ADMINISTRATORS],
  ]);
});

Deno.test("two administrators cannot take each other out at once, whichever way: one of them stays", async () => {
  const admin = await plane.administrator();
  const ways = [
    (by: Person, userId: UserId) => by.call(deleteUser, { params: { userId } }),
    (by: Person, userId: UserId) =>
      by.call(updateUser, { params: { userId }, body: { disabled: true } }),
    (by: Person, userId: UserId) =>
      by.call(updateUser, { params: { userId }, body: { administrator: false } }),
  ];
  for (const [index, takeOut] of ways.entries()) {
    const made = [];
    for (const name of [`one.${index}`, `two.${index}`]) {
      const body = { username: name, password, administrator: true };
      const { id } = await admin.call(createUser, { body });
      made.push({ id, person: await plane.logIn(name, password) });
    }
    const [one = assert.fail(), two = assert.fail()] = made;
    await database.sql`update users set administrator = false where username = 'admin'`;
    const ended = await Promise.allSettled([
      takeOut(one.person, two.id),
      takeOut(two.person, one.id),
    ]);
    const [row] = await database.sql`
      select count(*)::int as left from users where administrator and disabled_at is null`;
    await database.sql`update users set administrator = username = 'admin'`;
    assert.equal(row?.left, 1);
    assert.equal(ended.filter(({ status }) => status === "fulfilled").length, 1);
  }
});

Deno.test("nobody makes a user who may do more than they, or changes one who does", async () => {
  const admin = await plane.administrator();
  const actions = ["users:read" as const, "users:write" as const, "sites:read" as const];
  const keeper = await makePerson(plane, { name: "keeper", actions });
  const { id: plainId } = await keeper.call(createUser, { body: { username: "plain", password } });
  const own = { roleIds: [keeper.roleId] };
  await keeper.call(updateUser, { params: { userId: plainId }, body: own });
  const beyond = [{ administrator: true }, { roleIds: [ADMINISTRATORS] }, { roleIds: [VIEWERS] }];
  for (const body of beyond) {
    const accomplice = { username: "accomplice", password, ...body };
    await refusedAs("forbidden", keeper.call(createUser, { body: accomplice }));
    for (const userId of [plainId, keeper.userId]) {
      await refusedAs("forbidden", keeper.call(updateUser, { params: { userId }, body }));
    }
  }
  const { id: viewerId } = await admin.call(createUser, {
    body: { username: "viewer", password, roleIds: [VIEWERS] },
  });
  for (const userId of [viewerId, (await admin.call(getMe, {})).user.id]) {
    const params = { userId };
    await refusedAs("forbidden", keeper.call(deleteUser, { params }));
    await refusedAs("forbidden", keeper.call(updateUser, { params, body: { disabled: true } }));
    await refusedAs("forbidden", keeper.call(updateUser, { params, body: { roleIds: [] } }));
  }
  await keeper.call(deleteUser, { params: { userId: plainId } });
});

async function makeUser(username: string) {
  const admin = await plane.administrator();
  return await admin.call(createUser, { body: { username, password } });
}
