import assert from "node:assert/strict";
import { Secret, TOTP } from "otpauth";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import {
  confirmSecondFactor,
  enrolSecondFactor,
  enterCode,
  getSecondFactor,
  removeSecondFactor,
  replaceRecoveryCodes,
  resetSecondFactor,
} from "@rookery/shared/api/second_factor.ts";
import { getMe, listSessions, logout } from "@rookery/shared/api/sessions.ts";
import { resetSetting, updateSettings } from "@rookery/shared/api/settings.ts";
import { recover } from "@rookery/shared/api/setup.ts";
import { createUser, deleteUser, getUser, listUsers } from "@rookery/shared/api/users.ts";
import type { UserId } from "@rookery/shared/ids.ts";
import { findStep } from "../../control-plane/second_factor/totp.ts";
import { recoverAdministrator } from "../../control-plane/setup/setup_link.ts";
import { ADMINISTRATOR, type Person, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";
import { refusedAs } from "../support/refused_as.ts";

const database = testDatabase();
const plane = testControlPlane(database);
const { password } = ADMINISTRATOR;

Deno.test("findStep() knows the codes of RFC 6238, one step early and late, and no others", () => {
  const secret = new TextEncoder().encode("12345678901234567890");
  // Appendix B, cut to six digits.
  for (const [seconds, code] of [[59, "287082"], [1_111_111_109, "081804"], [20e9, "353130"]]) {
    const given = { code: String(code), nowMs: Number(seconds) * 1_000 };
    const step = Math.floor(Number(seconds) / 30);
    assert.equal(findStep(secret, given), step);
    for (const late of [-30_000, 30_000]) {
      assert.equal(findStep(secret, { ...given, nowMs: given.nowMs + late }), step);
    }
    for (const late of [-60_000, 60_000]) {
      assert.equal(findStep(secret, { ...given, nowMs: given.nowMs + late }), undefined);
    }
  }
});

Deno.test("a second factor is enrolled, confirmed by a code, and asked for at the next login", async () => {
  const { person, userId, code, recoveryCodes } = await enrolled("two.steps");
  assert.deepEqual([recoveryCodes.length, new Set(recoveryCodes).size], [10, 10]);
  const state = await person.call(getSecondFactor, {});
  assert.deepEqual([state.state, state.recoveryCodesLeft, state.isDemanded], ["on", 10, false]);
  await refusedAs("conflict", person.call(enrolSecondFactor, { body: { password } }));
  await refusedAs("conflict", person.call(enterCode, { body: { code: "123456" } }));
  const waiting = await plane.logIn("two.steps", password);
  assert.match(waiting.setCookie, /Max-Age=600;/);
  const me = await waiting.call(getMe, {});
  assert.deepEqual([me.due, me.permissions], ["second_factor", []]);
  await refusedAs("second-factor-required", waiting.call(listUsers, {}));
  await refusedAs(
    "second-factor-required",
    waiting.call(enrolSecondFactor, { body: { password } }),
  );
  await refusedAs("invalid-code", waiting.call(enterCode, { body: { code: "000000" } }));
  const body = { code: await code() };
  const { opened, again } = await finish(waiting, body);
  assert.equal(again.due, null);
  await opened.call(listUsers, {});
  await refusedAs("session-required", waiting.call(getMe, {}));
  assert.equal((await opened.call(listSessions, {})).items.length, 2);
  const replayed = await plane.logIn("two.steps", password);
  await refusedAs("invalid-code", replayed.call(enterCode, { body }));
  await replayed.call(logout, {});
  const admin = await plane.administrator();
  assert.equal((await admin.call(getUser, { params: { userId } })).hasSecondFactor, true);
});

Deno.test("a recovery code finishes a login once, however it is typed; new ones end those before", async () => {
  const { person, userId, recoveryCodes: [first = "", second = ""] } = await enrolled("recovers");
  const waiting = await plane.logIn("recovers", password);
  await finish(waiting, { code: first.toUpperCase().replaceAll("-", " ") });
  const again = await plane.logIn("recovers", password);
  await refusedAs("invalid-code", again.call(enterCode, { body: { code: first } }));
  assert.equal((await person.call(getSecondFactor, {})).recoveryCodesLeft, 9);
  const wrong = { password: "wrong password" };
  await refusedAs("invalid-credentials", person.call(replaceRecoveryCodes, { body: wrong }));
  const { recoveryCodes: [third = ""] } = await person.call(replaceRecoveryCodes, {
    body: { password },
  });
  await refusedAs("invalid-code", again.call(enterCode, { body: { code: second } }));
  await finish(again, { code: third });
  const admin = await plane.administrator();
  const { items } = await admin.call(listAuditRows, { query: { targetId: userId } });
  const actions = items.map(({ action }) => action);
  assert.equal(actions.filter((action) => action === "user.use_recovery_code").length, 2);
  assert.ok(actions.includes("user.confirm_second_factor"));
});

Deno.test("a code is guessed no oftener than a password, and a right password buys no more guesses", async () => {
  const admin = await plane.administrator();
  const { code } = await enrolled("guessed.code");
  await admin.call(updateSettings, { body: { "security.lockout_failures": 3 } });
  for (const guess of ["000001", "000002", "000003"]) {
    const thief = await plane.logIn("guessed.code", password);
    await refusedAs("invalid-code", thief.call(enterCode, { body: { code: guess } }));
    if (guess !== "000003") continue;
    await refusedAs("login-locked", plane.logIn("guessed.code", password));
    await refusedAs("login-locked", thief.call(enterCode, { body: { code: await code() } }));
  }
  await admin.call(resetSetting, { params: { key: "security.lockout_failures" } });
});

Deno.test("of two logins that enter the same code at once, one is let in", async () => {
  const { code } = await enrolled("raced");
  const two = [await plane.logIn("raced", password), await plane.logIn("raced", password)];
  const body = { code: await code() };
  const ended = await Promise.allSettled(two.map((person) => person.call(enterCode, { body })));
  assert.deepEqual(ended.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);
});

Deno.test("it is switched off with the password, by an administrator, and by a link of the console", async () => {
  const admin = await plane.administrator();
  const { person, userId } = await enrolled("off.again");
  const wrong = { password: "wrong password" };
  await refusedAs("invalid-credentials", person.call(removeSecondFactor, { body: wrong }));
  await person.call(removeSecondFactor, { body: { password } });
  assert.equal((await (await plane.logIn("off.again", password)).call(getMe, {})).due, null);
  const params = { userId };
  await refusedAs("not-found", admin.call(resetSecondFactor, { params }));
  await enrol(person);
  await admin.call(resetSecondFactor, { params });
  await refusedAs("session-required", person.call(getMe, {}));
  assert.equal((await (await plane.logIn("off.again", password)).call(getMe, {})).due, null);
  const { items: [audit] } = await admin.call(listAuditRows, { query: { targetId: userId } });
  assert.deepEqual([audit?.action, audit?.actorName], ["user.reset_second_factor", "admin"]);
  const own = { params: { userId: (await admin.call(getMe, {})).user.id } };
  await refusedAs("forbidden", admin.call(resetSecondFactor, own));

  const chief = { username: "chief", password, administrator: true };
  const { id } = await admin.call(createUser, { body: chief });
  await enrol(await plane.logIn("chief", password));
  const { db, publicUrl } = plane.services;
  const link = await recoverAdministrator(db, { username: "chief", publicUrl });
  await plane.call(recover, { body: { token: link.hash.slice(1), password } });
  assert.equal((await (await plane.logIn("chief", password)).call(getMe, {})).due, null);
  await admin.call(deleteUser, { params: { userId: id } });
});

Deno.test("an installation that demands it lets nobody do anything else before; API tokens go on", async () => {
  const admin = await plane.administrator();
  const person = await makePerson(plane, { name: "demanded", actions: ["users:read"] });
  const { secret } = await person.call(createApiToken, { body: { name: "goes on" } });
  await admin.call(updateSettings, { body: { "security.second_factor": "administrators" } });
  await refusedAs("second-factor-enrolment-required", admin.call(listUsers, {}));
  await person.call(listUsers, {});
  await enrol(admin);
  await admin.call(updateSettings, { body: { "security.second_factor": "all" } });
  await refusedAs("second-factor-enrolment-required", person.call(listUsers, {}));
  assert.equal((await person.call(getMe, {})).due, "second_factor_enrolment");
  await plane.call(listUsers, {}, { headers: { authorization: `Bearer ${secret}` } });
  await enrol(person);
  await person.call(listUsers, {});
  assert.equal((await person.call(getMe, {})).due, null);
  await admin.call(resetSetting, { params: { key: "security.second_factor" } });
  await admin.call(removeSecondFactor, { body: { password } });
});

Deno.test("neither database nor log nor audit holds a secret of an authenticator, a code or a recovery code", async () => {
  const { userId, secret, recoveryCodes } = await enrolled("hidden");
  const [row] = await database.sql<{ dump: string }[]>`
    select json_build_array(
      (select json_agg(t) from totp_factors t), (select json_agg(r) from recovery_codes r),
      (select json_agg(a) from audit_rows a))::text as dump`;
  const told = (row?.dump ?? "") + JSON.stringify(plane.log);
  assert.ok(told.includes(userId));
  const hex = Secret.fromBase32(secret).hex.toLowerCase();
  const codes = recoveryCodes.flatMap((code) => [code, code.replaceAll("-", "")]);
  for (const hidden of [secret, hex, ...codes]) assert.equal(told.includes(hidden), false);
});

interface Enrolled {
  readonly person: Person;
  readonly userId: UserId;
  readonly secret: string;
  readonly recoveryCodes: readonly string[];
  /** A code that was not used yet: as if time had gone on since the last. */
  code(): Promise<string>;
}

/** Somebody new who has a second factor. */
async function enrolled(name: string): Promise<Enrolled> {
  const person = await makePerson(plane, { name, actions: ["users:read"] });
  const { userId } = person;
  const { secret, recoveryCodes } = await enrol(person);
  const code = async () => {
    await database.sql`update totp_factors set last_step = 0 where user_id = ${userId}`;
    return codeOf(secret);
  };
  return { person, userId, secret, recoveryCodes, code };
}

async function enrol(person: Person) {
  const { otpauthUrl, secret } = await person.call(enrolSecondFactor, { body: { password } });
  assert.match(otpauthUrl, /^otpauth:\/\/totp\/Rookery:[\w.]+%40rookery\.test\?/);
  assert.ok(otpauthUrl.includes(`secret=${secret}`));
  const body = { code: codeOf(secret) };
  return { secret, ...await person.call(confirmSecondFactor, { body }) };
}

function codeOf(secret: string): string {
  return new TOTP({ secret: Secret.fromBase32(secret) }).generate();
}

/** Enters the code of a login that waits for it; the reply sets another cookie. */
async function finish({ cookie }: Person, body: { readonly code: string }) {
  const origin = plane.publicUrl;
  const headers = { cookie, origin, "content-type": "application/json" };
  const reply = await plane.fetch("/api/v1/login/code", {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  assert.equal(reply.status, 200);
  const [own = ""] = reply.headers.getSetCookie();
  const fresh = own.split(";")[0] ?? "";
  const call: Person["call"] = (endpoint, input, options) =>
    plane.call(endpoint, input, { ...options, headers: { origin, cookie: fresh } });
  return { again: await reply.json(), opened: { call } };
}
