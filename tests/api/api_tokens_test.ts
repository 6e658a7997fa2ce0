import assert from "node:assert/strict";
import { createApiToken, listApiTokens, revokeApiToken } from "@rookery/shared/api/api_tokens.ts";
import { changePassword, getMe } from "@rookery/shared/api/sessions.ts";
import { createTenant } from "@rookery/shared/api/tenants.ts";
import { createUser, listUsers, updateUser } from "@rookery/shared/api/users.ts";
import type { CallOptions } from "@rookery/shared/client.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { ADMINISTRATOR, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);

Deno.test("an API token speaks for its person without a cookie or an Origin, and is stored as a digest", async () => {
  const admin = await plane.administrator();
  const token = await admin.call(createApiToken, { body: { name: "backup script" } });
  assert.match(token.secret, /^rkt_[\w-]{43}$/);
  const me = await plane.call(getMe, {}, bearing(token.secret));
  assert.deepEqual([me.user.username, me.via], [ADMINISTRATOR.username, "api_token"]);
  await plane.call(createTenant, { body: { name: "made by a token" } }, bearing(token.secret));
  const [row] = await database.sql`
    select (select json_agg(t)::text from api_tokens t) || (select json_agg(a)::text from audit_rows a) as dump`;
  assert.equal(row?.dump.includes(token.secret), false);
  const [made] = await database.sql`
    select actor_kind, actor_name from audit_rows where detail->>'name' = 'made by a token'`;
  assert.deepEqual(made, { actor_kind: "api_token", actor_name: "admin/backup script" });
});

Deno.test("createApiToken() expires a token after 90 days, or when it was told", async () => {
  const admin = await plane.administrator();
  const usual = await admin.call(createApiToken, { body: { name: "usual" } });
  const short = await admin.call(createApiToken, { body: { name: "short", expiresInDays: 1 } });
  assert.equal(daysOf(usual), 90);
  assert.equal(daysOf(short), 1);
  await database.sql`
    update api_tokens set expires_at = now() - interval '1 second' where id = ${short.id}`;
  await refusedAs("session-required", plane.call(getMe, {}, bearing(short.secret)));
  await plane.call(getMe, {}, bearing(usual.secret));
});

Deno.test("revokeApiToken() ends a token at once, and only one's own", async () => {
  const admin = await plane.administrator();
  const body = { username: "frank", password: "franks own password" };
  await admin.call(createUser, { body });
  const frank = await plane.logIn(body.username, body.password);
  const token = await admin.call(createApiToken, { body: { name: "to revoke" } });
  const params = { apiTokenId: token.id };
  await refusedAs("not-found", frank.call(revokeApiToken, { params }));
  await admin.call(revokeApiToken, { params });
  await refusedAs("not-found", admin.call(revokeApiToken, { params }));
  await refusedAs("session-required", plane.call(getMe, {}, bearing(token.secret)));
  const { items } = await admin.call(listApiTokens, {});
  assert.ok(items.find(({ id }) => id === token.id)?.revokedAt);
  assert.equal(JSON.stringify(items).includes("rkt_"), false);
});

Deno.test("an API token makes no token and changes no password, so a stolen one cannot stay", async () => {
  const admin = await plane.administrator();
  const { secret } = await admin.call(createApiToken, { body: { name: "stolen" } });
  const body = { name: "more" };
  await refusedAs("forbidden", plane.call(createApiToken, { body }, bearing(secret)));
  const passwords = { currentPassword: ADMINISTRATOR.password, newPassword: "a stolen password" };
  await refusedAs("forbidden", plane.call(changePassword, { body: passwords }, bearing(secret)));
  const accomplice = { username: "accomplice", password: "a stolen password", administrator: true };
  await refusedAs("forbidden", plane.call(createUser, { body: accomplice }, bearing(secret)));
  const { user } = await admin.call(getMe, {});
  const change = { params: { userId: user.id }, body: { displayName: "changed" } };
  await refusedAs("forbidden", plane.call(updateUser, change, bearing(secret)));
});

Deno.test("disabling a person ends their API tokens for good", async () => {
  const admin = await plane.administrator();
  const body = { username: "grace", password: "graces own password" };
  const { id: userId } = await admin.call(createUser, { body: { ...body, administrator: true } });
  const grace = await plane.logIn(body.username, body.password);
  const { secret } = await grace.call(createApiToken, { body: { name: "hers" } });
  await plane.call(listUsers, {}, bearing(secret));
  await admin.call(updateUser, { params: { userId }, body: { disabled: true } });
  await refusedAs("session-required", plane.call(listUsers, {}, bearing(secret)));
  await admin.call(updateUser, { params: { userId }, body: { disabled: false } });
  await refusedAs("session-required", plane.call(getMe, {}, bearing(secret)));
  const again = await plane.logIn(body.username, body.password);
  const { items } = await again.call(listApiTokens, {});
  assert.ok(items.every(({ revokedAt }) => revokedAt !== null));
});

Deno.test("an API token loses what its person loses", async () => {
  const admin = await plane.administrator();
  const body = { username: "heidi", password: "heidis own password" };
  const { id: userId } = await admin.call(createUser, { body: { ...body, administrator: true } });
  const heidi = await plane.logIn(body.username, body.password);
  const { secret } = await heidi.call(createApiToken, { body: { name: "hers" } });
  await admin.call(updateUser, { params: { userId }, body: { administrator: false } });
  await refusedAs("forbidden", plane.call(listUsers, {}, bearing(secret)));
  await plane.call(getMe, {}, bearing(secret));
});

Deno.test("a wrong API token is refused even beside a good cookie", async () => {
  const { cookie } = await plane.administrator();
  const headers = {
    cookie,
    origin: plane.publicUrl,
    authorization: `Bearer rkt_${"A".repeat(43)}`,
  };
  await refusedAs("session-required", plane.call(getMe, {}, { headers }));
});

function bearing(secret: string): CallOptions {
  return { headers: { authorization: `Bearer ${secret}` } };
}

function daysOf(token: { readonly createdAt: string; readonly expiresAt: string | null }): number {
  return Temporal.Instant.from(token.createdAt).until(token.expiresAt ?? token.createdAt)
    .total("hours") / 24;
}

async function refusedAs(type: ProblemType, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error) => error instanceof ProblemError && error.type === type);
}
