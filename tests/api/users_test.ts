import assert from "node:assert/strict";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import { ENDPOINTS } from "@rookery/shared/api/mod.ts";
import {
  changePassword,
  getMe,
  listSessions,
  listUserSessions,
  logout,
  revokeUserSessions,
} from "@rookery/shared/api/sessions.ts";
import {
  createUser,
  deleteUser,
  demandPasswordChange,
  getUser,
  listUsers,
  resetPassword,
  updateUser,
} from "@rookery/shared/api/users.ts";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
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
  const usual = { administrator: false, email: null, mustChangePassword: false, lockedUntil: null };
  const enabled = { disabledAt: null, hasSecondFactor: false };
  assert.deepEqual(fields, { ...body, ...usual, ...enabled });
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
    const call = admin.call(createUser, { body: { username, password } });
    await refusedAs("conflict", call, "#/username");
  }
});

Deno.test("rename: name and address are changed, each unique in any case; the refusal names the field", async () => {
  const admin = await plane.administrator();
  const { id: userId } = await makeUser("before.rename");
  const other = { username: "other.one", email: "Other@Example.org", password };
  await admin.call(createUser, { body: other });
  const params = { userId };
  const rename = (body: { username?: string; email?: string | null }) =>
    admin.call(updateUser, { params, body });
  await refusedAs("conflict", rename({ username: "OTHER.one" }), "#/username");
  await refusedAs("conflict", rename({ email: "other@example.ORG" }), "#/email");
  await refusedAs("validation", rename({ email: "no address" }), "#/email");
  const body = { username: "After.Rename", email: "after@example.org" };
  const renamed = await rename(body);
  assert.deepEqual([renamed.username, renamed.email], [body.username, body.email]);
  await refusedAs("invalid-credentials", plane.logIn("before.rename", password));
  await plane.logIn("after.rename", password);
  const { items: [audit] } = await admin.call(listAuditRows, { query: { targetId: userId } });
  assert.deepEqual(audit?.detail, {
    before: { username: "before.rename", email: null },
    after: body,
  });
  assert.equal((await rename({ email: null })).email, null);
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

Deno.test("until a demanded password is chosen a session opens nothing else, and API tokens nothing", async () => {
  const admin = await plane.administrator();
  const person = await makePerson(plane, { name: "demanded", actions: ["*"] });
  const { secret } = await person.call(createApiToken, { body: { name: "suspended" } });
  const asProgram = { headers: { authorization: `Bearer ${secret}` } };
  await admin.call(demandPasswordChange, { params: { userId: person.userId } });
  assert.deepEqual(await opened(person), [changePassword, getMe, logout]);
  const me = await person.call(getMe, {});
  assert.deepEqual([me.due, me.user.mustChangePassword], ["new_password", true]);
  await refusedAs("password-change-required", plane.call(getMe, {}, asProgram));
  const refusal = await refusedAs("password-change-required", person.call(listUsers, {}));
  assert.match(refusal.toProblem("").remedy, /POST \/api\/v1\/me\/password/);
  const same = { currentPassword: password, newPassword: password };
  await refusedAs("validation", person.call(changePassword, { body: same }), "#/newPassword");
  const newPassword = "known to nobody else";
  await person.call(changePassword, { body: { currentPassword: password, newPassword } });
  assert.equal((await person.call(getMe, {})).due, null);
  await person.call(listUsers, {});
  await plane.call(getMe, {}, asProgram);
  const { items } = await admin.call(listAuditRows, { query: { targetId: person.userId } });
  assert.deepEqual(items.map(({ action }) => action).slice(0, 2), [
    "user.change_password",
    "user.demand_password",
  ]);
});

Deno.test("a password that an administrator gave ends the sessions and is good for choosing another one", async () => {
  const admin = await plane.administrator();
  const person = await makePerson(plane, { name: "forgetful", actions: ["users:read"] });
  const params = { userId: person.userId };
  const given = { password: "given by somebody else" };
  await admin.call(resetPassword, { params, body: given });
  await refusedAs("session-required", person.call(getMe, {}));
  await refusedAs("invalid-credentials", plane.logIn("forgetful", password));
  const again = await plane.logIn("forgetful", given.password);
  await refusedAs("password-change-required", again.call(listUsers, {}));
  await admin.call(resetPassword, { params, body: { ...given, mustChangePassword: false } });
  await (await plane.logIn("forgetful", given.password)).call(listUsers, {});
  const made = { username: "made.so", ...given, mustChangePassword: true };
  await admin.call(createUser, { body: made });
  const fresh = await plane.logIn("made.so", given.password);
  await refusedAs("password-change-required", fresh.call(listSessions, {}));
  await fresh.call(logout, {});
  await refusedAs("session-required", fresh.call(getMe, {}));
});

Deno.test("nobody gives themselves a password without the old one, or one to who may do more than they", async () => {
  const admin = await plane.administrator();
  const actions = ["users:read" as const, "users:write" as const];
  const keeper = await makePerson(plane, { name: "password.keeper", actions });
  const body = { password: "four words of yours" };
  const own = { params: { userId: keeper.userId }, body };
  await refusedAs("forbidden", keeper.call(resetPassword, own));
  const params = { userId: (await admin.call(getMe, {})).user.id };
  await refusedAs("forbidden", keeper.call(resetPassword, { params, body }));
  await refusedAs("forbidden", keeper.call(demandPasswordChange, { params }));
  assert.equal((await admin.call(getMe, {})).due, null);
});

Deno.test("an administrator sees where somebody is logged in and ends it all, unless they may do more", async () => {
  const admin = await plane.administrator();
  const actions = ["users:read" as const, "users:write" as const];
  const person = await makePerson(plane, { name: "logged.in.twice", actions });
  const second = await plane.logIn("logged.in.twice", password);
  const params = { userId: person.userId };
  const { items } = await admin.call(listUserSessions, { params });
  assert.deepEqual(items.map(({ current, address }) => [current, address]), [
    [false, "192.0.2.10"],
    [false, "192.0.2.10"],
  ]);
  assert.deepEqual(
    (await person.call(listUserSessions, { params })).items.map(({ current }) => current),
    [false, true],
  );
  const stronger = { params: { userId: (await admin.call(getMe, {})).user.id } };
  await refusedAs("forbidden", person.call(revokeUserSessions, stronger));
  await admin.call(revokeUserSessions, { params });
  for (const ended of [person, second]) await refusedAs("session-required", ended.call(getMe, {}));
  await refusedAs("not-found", admin.call(listUserSessions, { params: { userId: NOBODY } }));
  const { items: [audit] } = await admin.call(listAuditRows, {
    query: { targetId: params.userId },
  });
  assert.equal(audit?.action, "user.revoke_sessions");
});

/** The endpoints for people that do not refuse this person because of what is due first. */
async function opened({ cookie }: Person): Promise<AnyEndpoint[]> {
  const headers = { cookie, origin: plane.publicUrl };
  const forPeople = ENDPOINTS.map(({ endpoint }) => endpoint)
    .filter(({ access }) => access !== "public" && access !== "agent");
  const open = [];
  for (const endpoint of forPeople) {
    // Logging out would work.
    if (endpoint === logout) open.push(endpoint);
    else if (!await isRefusedFirst(endpoint, headers)) open.push(endpoint);
  }
  return open.toSorted((one, other) => one.path < other.path ? 1 : -1);
}

async function isRefusedFirst(endpoint: AnyEndpoint, headers: Record<string, string>) {
  const path = endpoint.path.replaceAll(/:\w+/g, NOWHERE);
  const reply = await plane.fetch(path, { method: endpoint.method, headers });
  const text = await reply.text();
  return reply.status === 403 && (text === "" || text.includes("/problems/password-change"));
}

async function makeUser(username: string) {
  const admin = await plane.administrator();
  return await admin.call(createUser, { body: { username, password } });
}
