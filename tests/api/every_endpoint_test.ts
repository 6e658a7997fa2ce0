import assert from "node:assert/strict";
import { z } from "zod";
import { ENDPOINTS, type NamedEndpoint } from "@rookery/shared/api/mod.ts";
import { listRoles } from "@rookery/shared/api/roles.ts";
import { getMe } from "@rookery/shared/api/sessions.ts";
import { createUser } from "@rookery/shared/api/users.ts";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
import { Problem } from "@rookery/shared/problem.ts";
import { ADMINISTRATOR, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const plane = testControlPlane(testDatabase());
const NIL = "00000000-0000-4000-8000-000000000000";
/** What there is nothing of, where ids are no UUIDs. */
const ABSENT: Readonly<Record<string, string>> = { sha256: "0".repeat(64), key: "no.such" };

const forPeople = ENDPOINTS.filter(isForPeople);

Deno.test("ENDPOINTS names each method and path once, and a path below its own root", () => {
  const addresses = ENDPOINTS.map(({ endpoint }) => `${endpoint.method} ${endpoint.path}`);
  assert.equal(new Set(addresses).size, addresses.length);
  assert.ok(ENDPOINTS.length > 40);
  for (const { name, endpoint } of ENDPOINTS) {
    const root = endpoint.access === "agent" ? /^\/agent\/v1\// : /^\/(api|agent)\/v1\/|^\/\w+z$/;
    assert.match(endpoint.path, root, name);
    assert.match(endpoint.summary, /^[A-Z][^\n]{5,120}[^.]$/, name);
  }
});

for (const { name, endpoint } of ENDPOINTS.filter((named) => !isPublic(named))) {
  Deno.test(`${name} is mounted and refuses whoever shows nothing, or something wrong`, async () => {
    await expectProblem(await send(endpoint), 401);
    const wrong = [
      { authorization: `Bearer rkt_${"A".repeat(43)}` },
      { authorization: "Basic YWRtaW46YWRtaW4=" },
      { authorization: `DPoP ${"A".repeat(43)}`, dpop: "e30.e30.AA" },
      { cookie: `rookery=rks_${"A".repeat(43)}`, origin: plane.publicUrl },
    ];
    for (const headers of wrong) await expectProblem(await send(endpoint, { headers }), 401);
  });
}

for (const { name, endpoint } of ENDPOINTS.filter(isForAgents)) {
  Deno.test(`${name} is for agents and not for administrators`, async () => {
    await expectProblem(await send(endpoint, { headers: await administrator() }), 401);
  });
}

for (
  const { name, endpoint } of forPeople.filter(({ endpoint: { access } }) => access !== "session")
) {
  Deno.test(`${name} refuses a person without the permission ${endpoint.access}`, async () => {
    const problem = await expectProblem(
      await send(endpoint, { headers: await nobodySpecial() }),
      403,
    );
    assert.equal(problem?.type, "/problems/forbidden");
    if (problem) assert.ok(problem.detail.includes(endpoint.access));
  });
}

for (const name of ["Operator", "Viewer", "Auditor"]) {
  Deno.test(`the built-in role ${name} opens the endpoints of its permissions and no others`, async () => {
    const { headers, permissions } = await holderOf(name);
    const refused: string[] = [];
    for (
      const { endpoint } of forPeople.filter(({ endpoint: { access } }) => access !== "session")
    ) {
      // A stream would have to be read to its end.
      if (endpoint.replyAs === "events") continue;
      const reply = await send(endpoint, { headers });
      await reply.body?.cancel();
      assert.equal(reply.status === 403, !permissions.includes(endpoint.access), endpoint.path);
      if (reply.status === 403) refused.push(endpoint.path);
    }
    assert.ok(refused.includes("/api/v1/users/:userId") || name === "Auditor");
    assert.ok(refused.length > 10 && permissions.length > 5);
  });
}

for (const { name, endpoint } of forPeople.filter(({ endpoint: { method } }) => method !== "GET")) {
  Deno.test(`${name} changes nothing for a cookie without its Origin`, async () => {
    const { cookie } = await administrator();
    const problem = await expectProblem(await send(endpoint, { headers: { cookie } }), 403);
    assert.equal(problem?.type, "/problems/bad-origin");
  });
}

for (
  const { name, endpoint } of ENDPOINTS.filter((named) => takesJson(named) && !isForAgents(named))
) {
  Deno.test(`${name} refuses bodies that are no JSON, of another type, or too large`, async () => {
    const headers = await administrator();
    const json = { ...headers, "content-type": "application/json" };
    await expectProblem(await send(endpoint, { headers: json, body: "{" }), 400);
    await expectProblem(await send(endpoint, { headers: json, body: "\0" }), 400);
    await expectProblem(await send(endpoint, { headers, body: new Uint8Array([123, 125]) }), 415);
    const text = { ...headers, "content-type": "text/plain" };
    await expectProblem(await send(endpoint, { headers: text, body: "{}" }), 415);
    const large = "[" + " ".repeat(endpoint.maxBodyBytes) + "]";
    await expectProblem(await send(endpoint, { headers: json, body: large }), 413);
    const declared = { ...json, "content-length": String(endpoint.maxBodyBytes + 1) };
    await expectProblem(await send(endpoint, { headers: declared, body: "{}" }), 413);
  });

  Deno.test(`${name} refuses junk in its body by the field`, async () => {
    const headers = { ...await administrator(), "content-type": "application/json" };
    for (const junk of ["null", "[]", '"x"', "1", '{"__proto__":{"x":1}}', '{"noSuchField":1}']) {
      await expectProblem(await send(endpoint, { headers, body: junk }), 422);
    }
    for (const field of fieldsOf(endpoint)) {
      for (
        const value of ["a\0b", "a\ud800b", ["a\0b"], "x".repeat(100_000), { "\0": [[]] }, -1e300]
      ) {
        const body = JSON.stringify({ [field]: value });
        const problem = await expectProblem(await send(endpoint, { headers, body }), 422);
        const pointers = problem?.errors?.map(({ pointer }) => pointer) ?? [];
        assert.ok(
          pointers.some((pointer) => pointer === `#/${field}` || pointer.startsWith(`#/${field}/`)),
          `${field}: ${pointers}`,
        );
      }
    }
  });
}

for (const { name, endpoint } of forPeople.filter(({ endpoint: { params } }) => params)) {
  Deno.test(`${name} refuses an id that is none, and says so when there is nothing of that id`, async () => {
    const headers = await administrator();
    await expectProblem(await send(endpoint, { headers, id: "not-an-id" }), 422);
    await expectProblem(await send(endpoint, { headers, id: "%00" }), 422);
    const body = SAMPLES[name] ?? {};
    const sent = takesJson({ name, endpoint })
      ? { headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) }
      : { headers };
    await expectProblem(await send(endpoint, sent), 404);
  });
}

for (const { name, endpoint } of forPeople.filter(({ endpoint: { query } }) => query)) {
  Deno.test(`${name} refuses what its query does not know`, async () => {
    const headers = await administrator();
    const junk = ["noSuchFilter=1", ...filtersOf(endpoint), ...pagingJunk(endpoint)];
    for (const search of junk) {
      const problem = await expectProblem(await send(endpoint, { headers, search }), 422);
      assert.ok(problem?.errors?.every(({ pointer }) => pointer.startsWith("?")), search);
    }
  });
}

Deno.test("nothing is unforeseen: no request of this file was an internal error", () => {
  const failed = plane.log.filter((line) => line.level === "error");
  assert.deepEqual(failed, []);
  assert.ok(plane.log.length > 500);
});

/** Valid bodies for endpoints whose body has required fields, by endpoint. */
const SAMPLES: Readonly<Record<string, unknown>> = {
  renameTag: { name: "renamed" },
  updateTenant: { name: "Renamed" },
  moveDevice: { siteId: NIL },
  purgeDevice: { name: "gone" },
  replaceDevice: {
    serialNumber: "1",
    hostKey: { keyType: "ssh-ed25519", fingerprint: `SHA256:${"A".repeat(43)}` },
  },
  approveAgent: { fingerprint: "A".repeat(43) },
  retrustAgent: { bootId: NIL },
  resetPassword: { password: "four words of yours" },
  createChangeHint: { address: "192.0.2.1" },
};

/** No filter takes a NUL. */
function filtersOf({ query }: AnyEndpoint): readonly string[] {
  const names = Object.keys(query?.shape ?? {});
  return names.filter((name) => name !== "cursor").map((name) => `${name}=%00`);
}

/** A cursor is read by the handler; what is in the path is looked for before. */
function pagingJunk({ query, params }: AnyEndpoint): readonly string[] {
  if (!query || !("cursor" in query.shape)) return [];
  const limits = ["limit=0", "limit=501", "limit=x", "limit=1&limit=2"];
  return params ? limits : [...limits, "cursor=", "cursor=%00", "cursor=e30", ...FAR_CURSORS];
}

/** Positions of the right form, behind everything that a database can count to. */
const FAR_CURSORS = [["99999999999999999999", NIL], ["9".repeat(300), NIL]].map((position) =>
  `cursor=${btoa(JSON.stringify(position)).replaceAll("=", "")}`
);

function fieldsOf({ body }: AnyEndpoint): readonly string[] {
  return body instanceof z.ZodObject ? Object.keys(body.shape) : [];
}

interface Sent {
  readonly headers?: Record<string, string>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly id?: string;
  readonly search?: string;
}

function send(endpoint: AnyEndpoint, sent: Sent = {}): Promise<Response> {
  const path = endpoint.path.replaceAll(
    /:(\w+)/g,
    (_match, name: string) => sent.id ?? ABSENT[name] ?? NIL,
  );
  return plane.fetch(sent.search === undefined ? path : `${path}?${sent.search}`, {
    method: endpoint.method,
    headers: sent.headers ?? {},
    ...(sent.body === undefined ? {} : { body: sent.body }),
  });
}

/** Checks status, form and headers of a problem; undefined for a reply to HEAD, which has no body. */
async function expectProblem(reply: Response, status: number): Promise<Problem | undefined> {
  const text = await reply.text();
  assert.equal(reply.status, status, text);
  assert.equal(reply.headers.get("x-content-type-options"), "nosniff");
  if (status === 401) assert.ok(reply.headers.has("www-authenticate"));
  if (text === "") return undefined;
  assert.equal(reply.headers.get("content-type"), "application/problem+json");
  const problem = Problem.parse(JSON.parse(text));
  assert.equal(problem.status, status);
  assert.equal(problem.instance, reply.headers.get("x-request-id"));
  return problem;
}

async function administrator(): Promise<{ readonly cookie: string; readonly origin: string }> {
  const { cookie } = await plane.administrator();
  return { cookie, origin: plane.publicUrl };
}

/** Somebody with one of the built-in roles, and what they may do. */
async function holderOf(roleName: string) {
  const admin = await plane.administrator();
  const { items } = await admin.call(listRoles, {});
  const roleIds = items.filter(({ name }) => name === roleName).map(({ id }) => id);
  const { password } = ADMINISTRATOR;
  await admin.call(createUser, { body: { username: roleName, password, roleIds } });
  const { call, cookie } = await plane.logIn(roleName, password);
  const permissions: readonly string[] = (await call(getMe, {})).permissions;
  return { headers: { cookie, origin: plane.publicUrl }, permissions };
}

let nobody: Promise<{ readonly cookie: string; readonly origin: string }> | undefined;

/** A person who may log in and no more. */
function nobodySpecial() {
  return nobody ??= (async () => {
    const admin = await plane.administrator();
    const body = { username: "nobody", password: "nobodys password" };
    await admin.call(createUser, { body });
    const { cookie } = await plane.logIn(body.username, body.password);
    return { cookie, origin: plane.publicUrl };
  })();
}

function isPublic({ endpoint }: NamedEndpoint): boolean {
  return endpoint.access === "public";
}

function isForAgents({ endpoint }: NamedEndpoint): boolean {
  return endpoint.access === "agent";
}

function isForPeople(named: NamedEndpoint): boolean {
  return !isPublic(named) && !isForAgents(named);
}

function takesJson({ endpoint }: NamedEndpoint): boolean {
  return endpoint.body !== undefined;
}
