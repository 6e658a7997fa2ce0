import assert from "node:assert/strict";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import { getLoginOptions, setOidcClientSecret, startOidcLogin } from "@rookery/shared/api/oidc.ts";
import { getMe, type Me } from "@rookery/shared/api/sessions.ts";
import { updateSettings } from "@rookery/shared/api/settings.ts";
import {
  createUser,
  demandPasswordChange,
  getUser,
  listUsers,
  updateUser,
} from "@rookery/shared/api/users.ts";
import type { SettingChange } from "@rookery/shared/settings/mod.ts";
import { ADMINISTRATOR, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import * as support from "../support/oidc_provider.ts";
import { refusedAs } from "../support/refused_as.ts";

const database = testDatabase();
const plane = testControlPlane(database);
const { password } = ADMINISTRATOR;

Deno.test("without a provider there is no such sign-in, and one that does not answer is said to be away", async () => {
  await plane.administrator();
  assert.deepEqual(await plane.call(getLoginOptions, {}), { oidc: false });
  await refusedAs("conflict", plane.call(startOidcLogin, {}));
  await set({ "oidc.issuer": "http://127.0.0.1:1" });
  const refused = await refusedAs("provider-away", plane.call(startOidcLogin, {}));
  assert.equal(refused.retryAfterSeconds, 10);
  assert.deepEqual(await plane.call(getLoginOptions, {}), { oidc: true });
});

Deno.test("a first sign-in makes a user with the roles of their groups, a later one changes those", async () => {
  await using provider = await provided();
  const claims = { preferred_username: "nora", name: "Nora N", email: "nora@example.org" };
  provider.people.set("n1", { ...claims, email_verified: true, groups: ["noc", "others"] });
  const me = await enter(provider, "n1");
  assert.deepEqual(
    [me.user.username, me.user.displayName, me.user.email, me.user.administrator, me.due],
    ["nora", "Nora N", "nora@example.org", false, null],
  );
  assert.ok(me.permissions.includes("backups:read") && !me.permissions.includes("jobs:write"));
  provider.people.set("n1", { ...claims, preferred_username: "renamed", groups: ["netops"] });
  const again = await enter(provider, "n1");
  assert.equal(again.user.id, me.user.id);
  assert.equal(again.user.username, "nora");
  assert.ok(again.permissions.includes("jobs:write"));
  const admin = await plane.administrator();
  const { items } = await admin.call(listAuditRows, { query: { targetId: me.user.id } });
  assert.deepEqual(items.map(({ action, actorName }) => [action, actorName]), [
    ["user.sign_in_by_oidc", "oidc"],
    ["user.sign_in_by_oidc", "oidc"],
  ]);
  const params = { userId: me.user.id };
  await refusedAs("invalid-credentials", plane.logIn("nora", password));
  await refusedAs("conflict", admin.call(demandPasswordChange, { params }));
  await admin.call(updateUser, { params, body: { disabled: true } });
  assert.match(await refused(provider, "n1"), /disabled/);
});

Deno.test("who has no group with a role here gets in nowhere, and no user is taken over by name or address", async () => {
  await using provider = await provided();
  const admin = await plane.administrator();
  const local = { username: "local", email: "local@example.org", password };
  const { id: userId } = await admin.call(createUser, { body: local });
  const { items: before } = await admin.call(listUsers, {});
  provider.people.set("s1", { preferred_username: "stranger", groups: ["others"] });
  assert.match(await refused(provider, "s1"), /None of your groups/);
  provider.people.set("s2", { preferred_username: "LOCAL", groups: ["noc"] });
  assert.match(await refused(provider, "s2"), /another user with the name LOCAL/);
  assert.deepEqual((await admin.call(listUsers, {})).items, before);
  const claims = { email: "Local@example.org", email_verified: true, groups: ["noc"] };
  provider.people.set("s3", { preferred_username: "not.local", ...claims });
  const { user } = await enter(provider, "s3");
  assert.deepEqual([user.username, user.email], ["not.local", null]);
  provider.people.set("s4", { email: "forged@example.org", groups: ["noc"] });
  const unverified = await enter(provider, "s4");
  assert.deepEqual([unverified.user.username, unverified.user.email], ["forged@example.org", null]);
  assert.equal((await admin.call(getUser, { params: { userId } })).email, local.email);
});

Deno.test("an answer is good for the browser that asked, and once", async () => {
  await using provider = await provided();
  provider.people.set("b1", { preferred_username: "bound", groups: ["noc"] });
  const { cookie, authorizationUrl } = await support.startSignIn(plane);
  const asked = new URL(authorizationUrl).searchParams;
  assert.deepEqual([asked.get("response_type"), asked.get("code_challenge_method")], [
    "code",
    "S256",
  ]);
  const url = await provider.logIn(authorizationUrl, "b1");
  const other = await support.startSignIn(plane);
  for (const foreign of ["", other.cookie]) {
    assert.equal((await support.finishSignIn(plane, { cookie: foreign, url })).status, 403);
  }
  const forged = new URL(url);
  forged.searchParams.set("state", new URL(other.authorizationUrl).searchParams.get("state") ?? "");
  const mixed = await support.finishSignIn(plane, { cookie: other.cookie, url: forged });
  assert.equal(mixed.status, 403);
  await mixed.body?.cancel();
  const fresh = await support.startSignIn(plane);
  const answer = {
    cookie: fresh.cookie,
    url: await provider.logIn(fresh.authorizationUrl, "b1"),
  };
  const good = await support.finishSignIn(plane, answer);
  assert.equal(good.status, 200);
  await good.body?.cancel();
  const replayed = await support.finishSignIn(plane, answer);
  assert.equal((await replayed.json()).type, "/problems/sign-in-refused");
  assert.equal(replayed.headers.get("set-cookie"), null);
  assert.ok(cookie !== fresh.cookie);
});

Deno.test("the client's secret is asked for by its provider, sealed, and stands nowhere else", async () => {
  await using provider = await provided({ isPublic: false });
  const admin = await plane.administrator();
  provider.people.set("c1", { preferred_username: "confidential", groups: ["noc"] });
  await refused(provider, "c1");
  const body = { clientSecret: support.CLIENT_SECRET };
  await admin.call(setOidcClientSecret, { body });
  await enter(provider, "c1");
  const [row] = await database.sql<{ dump: string }[]>`
    select json_build_array((select json_agg(c) from oidc_clients c),
      (select json_agg(a) from audit_rows a), (select json_agg(s) from settings s))::text as dump`;
  const hex = new TextEncoder().encode(support.CLIENT_SECRET).toHex();
  const told = (row?.dump ?? "") + JSON.stringify(plane.log);
  assert.ok(told.includes("oidc.set_client_secret"));
  for (const hidden of [support.CLIENT_SECRET, hex]) assert.equal(told.includes(hidden), false);
  await admin.call(setOidcClientSecret, { body: { clientSecret: null } });
  await refused(provider, "c1");
});

/** A provider that the settings name. */
async function provided(options: { readonly isPublic?: boolean } = {}) {
  const provider = await support.startOidcProvider(plane.publicUrl, options);
  await plane.administrator();
  await set({ "oidc.issuer": provider.issuer, "oidc.roles": "noc = Viewer; netops=Operator" });
  return provider;
}

async function set(body: SettingChange): Promise<void> {
  const admin = await plane.administrator();
  await admin.call(updateSettings, { body });
}

async function enter(provider: support.TestOidcProvider, subject: string): Promise<Me> {
  const reply = await support.signIn(plane, provider, subject);
  const text = await reply.text();
  assert.equal(reply.status, 200, text);
  const cookie = reply.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  const me = await plane.call(getMe, {}, { headers: { cookie } });
  assert.deepEqual(me.user, JSON.parse(text).user);
  return me;
}

/** The reason for which somebody is not let in. */
async function refused(provider: support.TestOidcProvider, subject: string): Promise<string> {
  const reply = await support.signIn(plane, provider, subject);
  const problem = await reply.json();
  assert.deepEqual([problem.type, reply.status], ["/problems/sign-in-refused", 403]);
  return problem.detail;
}
