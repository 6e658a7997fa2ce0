import assert from "node:assert/strict";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { getMe } from "@rookery/shared/api/sessions.ts";
import { recover, setUp } from "@rookery/shared/api/setup.ts";
import { createUser, updateUser } from "@rookery/shared/api/users.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { issueSetupLink, recoverAdministrator } from "../../control-plane/setup/setup_link.ts";
import { ADMINISTRATOR, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);

Deno.test("setUp() refuses a link that is unknown, over, or replaced by a newer one", async () => {
  await refusedAs("setup-link-invalid", setUpWith(`rku_${"A".repeat(43)}`));
  await refusedAs("validation", setUpWith("rku_short"));
  const replaced = await newToken();
  const over = await newToken();
  await refusedAs("setup-link-invalid", setUpWith(replaced));
  await database.sql`update setup_links set expires_at = now() - interval '1 second'`;
  await refusedAs("setup-link-invalid", setUpWith(over));
  assert.equal(await countUsers(), 0);
});

Deno.test("setUp() refuses a weak password by its field, and the link still works", async () => {
  const token = await newToken();
  for (const password of ["eleven char", "aaaaaaaaaaaaaaaa", "with a NUL \0 in it"]) {
    const error = await problemOf(plane.fetch("/api/v1/setup", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token, username: "admin", password }),
    }));
    assert.equal(error.status, 422);
    assert.deepEqual(error.errors?.map((field) => field.pointer), ["#/password"]);
  }
  assert.equal(await countUsers(), 0);
});

Deno.test("setUp() of two at once makes one administrator; the link is dead afterwards", async () => {
  const token = await newToken();
  const results = await Promise.allSettled([
    setUpWith(token, "first"),
    setUpWith(token, "second"),
    setUpWith(token, "third"),
  ]);
  const made = results.filter(({ status }) => status === "fulfilled");
  assert.equal(made.length, 1);
  for (const result of results) {
    if (result.status === "rejected") assert.equal(result.reason.type, "already-set-up");
  }
  assert.equal(await countUsers(), 1);
  await refusedAs("already-set-up", setUpWith(token, "fourth"));
  assert.equal(await issueSetupLink(database.db, plane.publicUrl), undefined);
  const [link] = await database.sql`select used_at is not null as used from setup_links`;
  assert.equal(link?.used, true);
});

Deno.test("recoverAdministrator() makes a link that sets a password once and ends old sessions", async () => {
  const [{ username } = { username: "" }] = await database.sql`select username from users`;
  const before = await plane.logIn(username, ADMINISTRATOR.password);
  const { secret } = await before.call(createApiToken, { body: { name: "lost too" } });
  const headers = { authorization: `Bearer ${secret}` };
  await plane.call(getMe, {}, { headers });
  const link = await recoverAdministrator(database.db, { username, publicUrl: plane.publicUrl });
  assert.equal(link.pathname, "/setup");
  const token = link.hash.slice(1);
  const body = { token, password: "another horse battery" };
  const me = await plane.call(recover, { body });
  assert.equal(me.user.username, username);
  await refusedAs("session-required", before.call(getMe, {}));
  await refusedAs("session-required", plane.call(getMe, {}, { headers }));
  await refusedAs("setup-link-invalid", plane.call(recover, { body }));
  await refusedAs("invalid-credentials", plane.logIn(username, ADMINISTRATOR.password));
  await plane.logIn(username, body.password);
  const rows = await database.sql`
    select action, actor_kind from audit_rows where action like 'user.%recover%' order by id`;
  assert.deepEqual([...rows], [
    { action: "user.issue_recovery_link", actor_kind: "system" },
    { action: "user.recover", actor_kind: "user" },
  ]);
});

Deno.test("recoverAdministrator() refuses whoever is no administrator", async () => {
  const [{ username } = { username: "" }] = await database.sql`select username from users`;
  const admin = await plane.logIn(username, "another horse battery");
  await admin.call(createUser, { body: { username: "viewer", password: "viewers password" } });
  for (const name of ["viewer", "nobody"]) {
    await assert.rejects(
      recoverAdministrator(database.db, { username: name, publicUrl: plane.publicUrl }),
      /there is no administrator of that name/,
    );
  }
});

Deno.test("a recovery link re-enables nobody who was disabled or demoted after it was made", async () => {
  const [{ username } = { username: "" }] = await database.sql`
    select username from users where administrator`;
  const admin = await plane.logIn(username, "another horse battery");
  const body = { username: "fallen", password: "fallen password", administrator: true };
  const { id: userId } = await admin.call(createUser, { body });
  for (const change of [{ administrator: false }, { disabled: true }]) {
    const restored = { administrator: true, disabled: false };
    await admin.call(updateUser, { params: { userId }, body: restored });
    const who = { username: "fallen", publicUrl: plane.publicUrl };
    const token = (await recoverAdministrator(database.db, who)).hash.slice(1);
    await admin.call(updateUser, { params: { userId }, body: change });
    const call = plane.call(recover, { body: { token, password: "risen from the dead" } });
    await refusedAs("setup-link-invalid", call);
  }
  await refusedAs("invalid-credentials", plane.logIn("fallen", "risen from the dead"));
  await assert.rejects(
    recoverAdministrator(database.db, { username: "fallen", publicUrl: plane.publicUrl }),
    /there is no administrator of that name|is disabled; recover another administrator/,
  );
});

Deno.test("admin:recover prints a link that works, or says in one line why not", async () => {
  const [{ username } = { username: "" }] = await database.sql`
    select username from users where administrator`;
  const printed = await runRecovery(username);
  assert.equal(printed.code, 0, printed.stderr);
  const token = /http:\/\/rookery\.test\/setup#(rkr_[\w-]{43})\n/.exec(printed.stdout)?.[1];
  assert.ok(token);
  const me = await plane.call(recover, { body: { token, password: "yet another battery" } });
  assert.equal(me.user.username, username);
  const refused = await runRecovery("nobody");
  assert.equal(refused.code, 1);
  assert.equal(
    refused.stderr,
    'Cannot recover "nobody": there is no administrator of that name\n',
  );
});

Deno.test("the page behind the link loads nothing from elsewhere and runs no inline code", async () => {
  const page = await plane.fetch("/setup");
  assert.equal(page.status, 200);
  const html = await page.text();
  assert.doesNotMatch(html, /https?:|<script(?![^>]*src=)|style=|\son\w+=/);
  assert.match(page.headers.get("content-security-policy") ?? "", /form-action 'none'/);
  for (const address of ["/setup/setup.js", "/setup/page.css"]) {
    assert.ok(html.includes(address));
    const reply = await plane.fetch(address);
    assert.equal(reply.status, 200);
    await reply.body?.cancel();
  }
});

async function runRecovery(name: string) {
  const program = new URL("../../control-plane/admin_recover.ts", import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--cached-only", program, name],
    env: { DATABASE_URL: database.url, ROOKERY_PUBLIC_URL: plane.publicUrl, NO_COLOR: "1" },
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

async function newToken(): Promise<string> {
  const link = await issueSetupLink(database.db, plane.publicUrl);
  assert.ok(link && link.href.startsWith(`${plane.publicUrl}/setup#rku_`));
  return link.hash.slice(1);
}

function setUpWith(token: string, username = "admin") {
  return plane.call(setUp, { body: { token, username, password: ADMINISTRATOR.password } });
}

async function countUsers(): Promise<number> {
  const rows = await database.sql`select 1 from users`;
  return rows.length;
}

async function problemOf(reply: Promise<Response>): Promise<ProblemError> {
  const problem = ProblemError.parse(await (await reply).json());
  assert.ok(problem);
  return problem;
}

async function refusedAs(type: ProblemType, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error) => error instanceof ProblemError && error.type === type);
}
