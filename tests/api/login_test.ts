import assert from "node:assert/strict";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import {
  changePassword,
  getMe,
  listSessions,
  login,
  logout,
  revokeSession,
} from "@rookery/shared/api/sessions.ts";
import { resetSetting, updateSettings } from "@rookery/shared/api/settings.ts";
import { recover } from "@rookery/shared/api/setup.ts";
import {
  createUser,
  deleteUser,
  getUser,
  unlockUser,
  updateUser,
} from "@rookery/shared/api/users.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { runMaintenance } from "../../control-plane/jobs/maintenance.ts";
import { recoverAdministrator } from "../../control-plane/setup/setup_link.ts";
import { until } from "../support/agent_bench.ts";
import { ADMINISTRATOR, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { ADMINISTRATOR_HASH } from "../support/passwords.ts";

const database = testDatabase();
const plane = testControlPlane(database);
/** Another replica. */
const other = testControlPlane(database);
const { username, password } = ADMINISTRATOR;

Deno.test("the administrator's hash that tests begin with is one of that password", async () => {
  assert.ok(
    await plane.services.passwords.matches(ADMINISTRATOR.password, ADMINISTRATOR_HASH),
  );
});

Deno.test("login sets an HttpOnly cookie that no other site's page can send, and tells who one is", async () => {
  await plane.administrator();
  const person = await plane.logIn("ADMIN", password);
  assert.match(
    person.setCookie,
    /^rookery=rks_[\w-]{43}; Max-Age=604800; Path=\/; HttpOnly; SameSite=Lax$/,
  );
  const me = await person.call(getMe, {});
  assert.equal(me.user.username, username);
  assert.ok(me.permissions.includes("devices:write"));
  assert.equal(me.via, "session");
});

Deno.test("login answers alike for a wrong password, an unknown name and a disabled user", async () => {
  const admin = await plane.administrator();
  const body = { username: "gone", password: "long enough password" };
  const { id } = await admin.call(createUser, { body });
  await admin.call(updateUser, { params: { userId: id }, body: { disabled: true } });
  const replies = await Promise.all([
    attempt(username, "wrong password"),
    attempt("nobody", "wrong password"),
    attempt("gone", body.password),
  ]);
  for (const reply of replies) {
    assert.equal(reply.status, 401);
    assert.equal(reply.headers.get("set-cookie"), null);
  }
  const problems = await Promise.all(replies.map((reply) => reply.json()));
  const texts = problems.map((problem) => JSON.stringify({ ...problem, instance: "" }));
  assert.equal(new Set(texts).size, 1);
});

Deno.test("login hashes once for each attempt, whether there is such a user or not", async () => {
  const admin = await plane.administrator();
  const body = { username: "worked", password };
  await admin.call(createUser, { body });
  await admin.call(createUser, { body: { ...body, username: "unworked" } }).then(({ id }) =>
    admin.call(updateUser, { params: { userId: id }, body: { disabled: true } })
  );
  const { passwords } = plane.services;
  for (const [name, guess] of [["worked", "wrong"], ["no.such.name", "wrong"], ["unworked", "x"]]) {
    const before = passwords.computed();
    assert.equal((await attempt(name ?? "", guess ?? "")).status, 401);
    assert.equal(passwords.computed() - before, 1, name);
  }
});

Deno.test("too many wrong passwords lock a name at every replica, whether anybody has it or not, until unlocked", async () => {
  const admin = await plane.administrator();
  const body = { username: "locked", password };
  const { id: userId } = await admin.call(createUser, { body });
  await admin.call(updateSettings, { body: { "security.lockout_failures": 3 } });
  await other.services.settings.refresh();
  const told = [];
  for (const name of ["LOCKED", "locked.by.nobody"]) {
    await attempt(name, "wrong password");
    await attempt(name, "wrong password", other);
    assert.equal((await attempt(name, "wrong password")).status, 401);
    const refused = await attempt(name, password, other);
    assert.equal(refused.status, 429);
    const seconds = Number(refused.headers.get("retry-after"));
    assert.ok(seconds > 600 && seconds <= 900, `${seconds}`);
    told.push({ ...await refused.json(), instance: "", retryAfterSeconds: 900 });
  }
  assert.deepEqual(told[0], told[1]);
  assert.equal(told[0].type, "/problems/login-locked");
  const params = { userId };
  const { lockedUntil } = await admin.call(getUser, { params });
  const minutes = Temporal.Now.instant().until(lockedUntil ?? assert.fail()).total("minutes");
  assert.ok(minutes > 10 && minutes <= 15, `${minutes}`);
  await admin.call(unlockUser, { params });
  assert.equal((await admin.call(getUser, { params })).lockedUntil, null);
  await plane.logIn("locked", password);
  const { items } = await admin.call(listAuditRows, { query: { targetId: userId } });
  assert.deepEqual(items.map(({ action, actorKind }) => [action, actorKind]).slice(0, 2), [
    ["user.unlock", "user"],
    ["user.lock_out", "system"],
  ]);
  await admin.call(resetSetting, { params: { key: "security.lockout_failures" } });
});

Deno.test("a stranger cannot keep an administrator out: a known browser, time, and a link of the console let in", async () => {
  const admin = await plane.administrator();
  const body = { username: "chief", password, administrator: true };
  const { id: userId } = await admin.call(createUser, { body });
  await admin.call(updateSettings, { body: { "security.lockout_failures": 2 } });
  const guess = (tried: string, browser?: string) =>
    attempt("chief", tried, plane, browser).then(({ status }) => status);
  const lock = async () => {
    assert.deepEqual([await guess("wrong"), await guess("wrong")], [401, 401]);
    assert.equal(await guess(password), 429);
  };
  const own = browserOf(await attempt("chief", body.password));
  await lock();
  assert.equal(await guess(password, own), 200);
  const foreign = browserOf(await attempt(username, password));
  assert.equal(await guess(password, foreign), 429);
  await database.sql`update login_failures set last_failed_at = now() - interval '16 minutes'`;
  assert.equal(await guess(password), 200);
  await lock();
  const { db, publicUrl } = plane.services;
  const link = await recoverAdministrator(db, { username: "chief", publicUrl });
  const recovery = { token: link.hash.slice(1), password };
  await plane.call(recover, { body: recovery });
  assert.equal(await guess(password), 200);
  assert.deepEqual([await guess("wrong", own), await guess("wrong", own)], [401, 401]);
  assert.equal(await guess(password, own), 429);
  assert.equal(await guess(password), 200);
  await admin.call(deleteUser, { params: { userId } });
  await admin.call(resetSetting, { params: { key: "security.lockout_failures" } });
});

Deno.test("login makes whoever guesses wait, with Retry-After, and not the others", async () => {
  await plane.administrator();
  // All at once: one after the other, each may take longer than the second that the first wait lasts.
  const guesses = Array.from({ length: 8 }, () => attempt("guessed", "wrong password"));
  const replies = await Promise.all(guesses);
  assert.ok(replies.filter(({ status }) => status === 401).length >= 5);
  const refused = replies.find(({ status }) => status === 429);
  assert.ok(refused);
  assert.ok(Number(refused.headers.get("retry-after")) >= 1);
  assert.equal((await refused.json()).type, "/problems/too-many-requests");
  await plane.logIn(username, password);
});

Deno.test("login knows a name by its ASCII letters alone, so that nobody guesses under another spelling", async () => {
  const admin = await plane.administrator();
  const body = { username: "ADMIN.I", password: "long enough password" };
  await admin.call(createUser, { body });
  await plane.logIn("admin.i", body.password);
  for (const name of ["adm\u0130n.i", "admin.\u0130", "adm\u0131n.i", "admin.i\u0307"]) {
    assert.equal((await attempt(name, body.password)).status, 401, name);
  }
});

Deno.test("an attempt that could not be checked counts for nothing", async () => {
  await plane.administrator();
  await database.sql`alter table users rename to users_hidden`;
  for (let guess = 0; guess < 8; guess++) {
    assert.equal((await attempt("unchecked", "some password")).status, 500);
  }
  await database.sql`alter table users_hidden rename to users`;
  assert.equal((await attempt("unchecked", "some password")).status, 401);
});

Deno.test("a cookie changes nothing without the Origin header of our own pages", async () => {
  const { cookie } = await plane.logIn(username, password);
  for (const origin of [undefined, "null", "http://evil.test", "http://rookery.test.evil.test"]) {
    const headers = { cookie, ...(origin === undefined ? {} : { origin }) };
    const reply = await plane.fetch("/api/v1/logout", { method: "POST", headers });
    assert.equal(reply.status, 403, `origin ${origin}`);
    assert.equal((await reply.json()).type, "/problems/bad-origin");
  }
  assert.equal((await plane.fetch("/api/v1/me", { headers: { cookie } })).status, 200);
});

Deno.test("login refuses the page of another site", async () => {
  await plane.administrator();
  const headers = { origin: "http://evil.test" };
  await refusedAs("bad-origin", plane.call(login, { body: ADMINISTRATOR }, { headers }));
});

Deno.test("logout ends the session for good", async () => {
  const person = await plane.logIn(username, password);
  await person.call(logout, {});
  await refusedAs("session-required", person.call(getMe, {}));
});

Deno.test("revokeSession() ends one of one's own sessions and nobody else's", async () => {
  const admin = await plane.administrator();
  const body = { username: "carol", password: "carols own password" };
  await admin.call(createUser, { body });
  const carol = await plane.logIn(body.username, body.password);
  const other = await plane.logIn(username, password);
  const { items } = await other.call(listSessions, {});
  const own = items.find((session) => session.current);
  assert.ok(own && items.length >= 2);
  const params = { sessionId: own.id };
  await refusedAs("not-found", carol.call(revokeSession, { params }));
  await admin.call(revokeSession, { params });
  await refusedAs("session-required", other.call(getMe, {}));
});

Deno.test("a session ends when it was not used for half a day, and after a week at the latest", async () => {
  const admin = await plane.administrator();
  const idle = await plane.logIn(username, password);
  await setOnNewest("last_used_at = now() - interval '13 hours'");
  await refusedAs("session-required", idle.call(getMe, {}));
  const old = await plane.logIn(username, password);
  await setOnNewest("expires_at = now() - interval '1 second'");
  await refusedAs("session-required", old.call(getMe, {}));
  await admin.call(getMe, {});
});

Deno.test("runMaintenance() removes the sessions that are over, and no other", async () => {
  const admin = await plane.administrator();
  await plane.logIn(username, password);
  await setOnNewest("expires_at = now() - interval '1 second'");
  const countOver = async () => {
    const [row] = await database.sql<{ over: number }[]>`
      select count(*)::int as over from sessions where expires_at <= now()`;
    return row?.over;
  };
  assert.notEqual(await countOver(), 0);
  const upkeep = new AbortController();
  const maintenance = runMaintenance(plane.services, { signal: upkeep.signal });
  await until(async () => await countOver() === 0, "the sessions are gone");
  upkeep.abort();
  await maintenance;
  await admin.call(getMe, {});
});

Deno.test("changePassword() wants the old password, ends the other sessions, keeps this one", async () => {
  const admin = await plane.administrator();
  const body = { username: "dave", password: "daves first password" };
  await admin.call(createUser, { body });
  const here = await plane.logIn(body.username, body.password);
  const there = await plane.logIn(body.username, body.password);
  const newPassword = "daves second password";
  const wrong = { currentPassword: "not his password", newPassword };
  await refusedAs("invalid-credentials", here.call(changePassword, { body: wrong }));
  await here.call(changePassword, { body: { currentPassword: body.password, newPassword } });
  await here.call(getMe, {});
  await refusedAs("session-required", there.call(getMe, {}));
  await refusedAs("invalid-credentials", plane.logIn(body.username, body.password));
  await plane.logIn(body.username, newPassword);
});

Deno.test("disabling a user ends the sessions; the last administrator cannot be disabled", async () => {
  const admin = await plane.administrator();
  const body = { username: "erin", password: "erins own password" };
  const { id } = await admin.call(createUser, { body });
  const erin = await plane.logIn(body.username, body.password);
  await refusedAs("forbidden", erin.call(createUser, { body }));
  await admin.call(updateUser, { params: { userId: id }, body: { disabled: true } });
  await refusedAs("session-required", erin.call(getMe, {}));
  const { user } = await admin.call(getMe, {});
  for (const change of [{ disabled: true }, { administrator: false }]) {
    const call = admin.call(updateUser, { params: { userId: user.id }, body: change });
    await refusedAs("in-use", call);
  }
  await admin.call(getMe, {});
});

Deno.test("neither database, nor log, nor audit holds a password or a session's secret", async () => {
  const admin = await plane.administrator();
  const secrets = [password, "daves second password", admin.cookie.split("=")[1] ?? ""];
  const { items } = await admin.call(listAuditRows, {});
  assert.ok(items.some((row) => row.action === "user.change_password"));
  const [row] = await database.sql`
    select json_build_array(
      (select json_agg(u) from users u), (select json_agg(s) from sessions s),
      (select json_agg(a) from audit_rows a), (select json_agg(l) from setup_links l))::text as dump`;
  const told = JSON.stringify([items, plane.log]) + row?.dump;
  for (const secret of secrets) assert.equal(told.includes(secret), false);
});

function attempt(
  name: string,
  guess: string,
  replica = plane,
  browser: string | undefined = undefined,
): Promise<Response> {
  return replica.fetch("/api/v1/login", {
    method: "POST",
    headers: { "content-type": "application/json", ...browser && { cookie: browser } },
    body: JSON.stringify({ username: name, password: guess }),
  });
}

/** The cookie by which a browser is known in which somebody has just logged in. */
function browserOf(reply: Response): string {
  const [, cookie = ""] = reply.headers.getSetCookie();
  assert.match(cookie, /^rookery-browser=rkb_[\w-]{43}; Max-Age=15552000; Path=\/; HttpOnly; Same/);
  return cookie.split(";")[0] ?? "";
}

async function refusedAs(type: ProblemType, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error) => error instanceof ProblemError && error.type === type);
}

async function setOnNewest(change: string): Promise<void> {
  await database.sql.unsafe(
    `update sessions set ${change} where id = (select id from sessions order by created_at desc limit 1)`,
  );
}
