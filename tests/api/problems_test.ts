import assert from "node:assert/strict";
import { Problem, PROBLEMS } from "@rookery/shared/problem.ts";
import { createTenant } from "@rookery/shared/api/tenants.ts";
import { listUsers } from "@rookery/shared/api/users.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

Deno.test("what is not there is a problem, whatever the method", async () => {
  for (
    const path of ["/nowhere", "/api/v1/nowhere", "/agent/v1/nowhere", "/api/v1/devices/x/y/z"]
  ) {
    for (const method of ["GET", "POST", "DELETE"]) {
      const { problem } = await read(plane.fetch(path, { method }));
      assert.deepEqual([problem.status, problem.type], [404, "/problems/not-found"]);
    }
  }
});

Deno.test("a browser that opens an unknown page is shown one; programs and the API keep to problems", async () => {
  const headers = { accept: "text/html,application/xhtml+xml,*/*;q=0.8" };
  const page = await plane.fetch("/devices/<script>", { headers });
  assert.equal(page.status, 404);
  assert.match(page.headers.get("content-type") ?? "", /^text\/html/);
  const html = await page.text();
  assert.match(html, /There is no such page[^]*href="\/api\/docs"/);
  assert.doesNotMatch(html, /script>/);
  const { problem } = await read(plane.fetch("/api/v1/nowhere", { headers }));
  assert.match(problem.remedy, /\/api\/docs/);
});

Deno.test("a method that an address does not take is refused with those it takes", async () => {
  const { reply, problem } = await read(plane.fetch("/api/v1/login", { method: "GET" }));
  assert.deepEqual([problem.status, problem.type], [405, "/problems/method-not-allowed"]);
  assert.equal(reply.headers.get("allow"), "POST");
  const users = await read(plane.fetch("/api/v1/users", { method: "DELETE" }));
  assert.equal(users.reply.headers.get("allow"), "GET, HEAD, POST");
  const options = await plane.fetch("/api/v1/users", { method: "OPTIONS" });
  assert.equal(options.status, 405);
  assert.equal(options.headers.get("access-control-allow-origin"), null);
  await options.body?.cancel();
});

Deno.test("a body that is no UTF-8 is refused, not stored with marks in the place of its letters", async () => {
  const { cookie } = await plane.administrator();
  const headers = { cookie, origin: plane.publicUrl, "content-type": "application/json" };
  const body = new Uint8Array([...new TextEncoder().encode('{"name":"M'), 0xfc, 0x22, 0x7d]);
  const sent = plane.fetch("/api/v1/tenants", { method: "POST", headers, body });
  const { problem } = await read(sent);
  assert.deepEqual([problem.status, problem.detail], [400, "The request body is no UTF-8."]);
  const rows = await database.sql`select 1 from tenants where name like 'M%'`;
  assert.equal(rows.length, 0);
});

Deno.test("an unforeseen error says nothing but its request id, which the log explains", async () => {
  const admin = await plane.administrator();
  await database.sql`alter table tenants add constraint broken check (name <> 'trigger')`;
  const { reply, problem } = await read(plane.fetch("/api/v1/tenants", {
    method: createTenant.method,
    headers: {
      cookie: admin.cookie,
      origin: plane.publicUrl,
      "content-type": "application/json",
    },
    body: JSON.stringify({ name: "trigger" }),
  }));
  assert.deepEqual([problem.status, problem.type], [500, "/problems/internal"]);
  assert.doesNotMatch(JSON.stringify(problem), /constraint|tenants|trigger|stack|postgres/i);
  assert.equal(reply.headers.get("x-request-id"), problem.instance);
  const line = plane.log.find((entry) =>
    entry.message === "Unforeseen error" && entry.requestId === problem.instance
  );
  assert.match(JSON.stringify(line), /violates check constraint/);
});

Deno.test("every reply has the headers that keep browsers from mischief", async () => {
  for (const path of ["/healthz", "/setup", "/nowhere", "/api/v1/me", "/problems/not-found"]) {
    const reply = await plane.fetch(path);
    await reply.body?.cancel();
    assert.equal(reply.headers.get("x-content-type-options"), "nosniff");
    assert.match(reply.headers.get("content-security-policy") ?? "", /frame-ancestors 'none'/);
    assert.match(reply.headers.get("strict-transport-security") ?? "", /max-age=\d{8}/);
    assert.equal(reply.headers.get("referrer-policy"), "no-referrer");
    assert.match(reply.headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
  }
});

Deno.test("behind TLS the cookie is bound to this host and never sent in the clear", async () => {
  const { setCookie } = await plane.administrator();
  assert.match(setCookie, /^__Host-rookery=rks_[\w-]{43};/);
  assert.match(setCookie, /; Path=\/; HttpOnly; Secure; SameSite=Lax$/);
});

Deno.test("every problem type has its page, and an unknown one has none", async () => {
  for (const type of Object.keys(PROBLEMS)) {
    const reply = await plane.fetch(`/problems/${type}`);
    assert.equal(reply.status, 200);
    assert.ok((await reply.text()).includes(`/problems/${type}`));
  }
  const { problem } = await read(plane.fetch("/problems/toString"));
  assert.equal(problem.status, 404);
});

Deno.test("/readyz tells that the database is there, and when it is not", async () => {
  const ready = await plane.fetch("/readyz");
  assert.deepEqual([ready.status, await ready.json()], [200, { status: "ready" }]);
  await database.sql`alter table migrations rename to migrations_hidden`;
  const { reply, problem } = await read(plane.fetch("/readyz"));
  await database.sql`alter table migrations_hidden rename to migrations`;
  assert.equal(problem.status, 503);
  assert.ok(Number(reply.headers.get("retry-after")) > 0);
  const head = await plane.fetch("/healthz", { method: "HEAD" });
  assert.deepEqual([head.status, await head.text()], [200, ""]);
});

Deno.test("the log has one line for each request, without query, body or secret", async () => {
  const admin = await plane.administrator();
  await admin.call(listUsers, { query: { limit: 7 } });
  const line = plane.log.findLast((entry) => entry.path === "/api/v1/users");
  assert.deepEqual(
    [line?.level, line?.message, line?.method, line?.status, line?.address],
    ["info", "request", "GET", 200, "192.0.2.10"],
  );
  assert.doesNotMatch(JSON.stringify(plane.log), /rk[surt]_|limit=7|battery/);
});

async function read(
  sent: Promise<Response>,
): Promise<{ readonly reply: Response; readonly problem: Problem }> {
  const reply = await sent;
  assert.equal(reply.headers.get("content-type"), "application/problem+json");
  return { reply, problem: Problem.parse(await reply.json()) };
}
