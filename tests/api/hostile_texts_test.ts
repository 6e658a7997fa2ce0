/** What people and scripts type where a text belongs: it is kept as it is or refused by its field, and never half of each. */
import assert from "node:assert/strict";
import { ENDPOINTS } from "@rookery/shared/api/mod.ts";
import { listDevices } from "@rookery/shared/api/devices.ts";
import { Problem } from "@rookery/shared/problem.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);

const TEXTS: Readonly<Record<string, string>> = {
  emoji: "core 🦉👩‍🚀 e\u0301",
  "right to left": "oslo\u202Egnp.exe",
  sql: "x'); drop table devices; --",
  script: `"><script>alert(1)</script>`,
  template: "${7*7} {{7*7}} %s %n",
  path: "../../etc/passwd",
  formula: "=cmd|' /C calc'!A0",
  blank: " \t ",
  null: "null",
};

const secret = "four words of yours";
/** A valid body for each way to create something, and which of its fields are texts. `n` makes names differ. */
const SAMPLES: Readonly<Record<string, (n: number) => Record<string, unknown>>> = {
  createTenant: (n) => ({ name: `tenant ${n}` }),
  createSite: (n) => ({ name: `site ${n}`, timeZone: "UTC", tenantId: ids.tenantId }),
  createDevice: (n) => ({
    ...{
      siteId: ids.siteId,
      name: `device ${n}`,
      host: `10.0.${n >> 8}.${n & 255}`,
      platform: "frr",
    },
    ...{ notes: "none", owner: "netops" },
  }),
  createCredential: (n) => ({
    ...{ name: `credential ${n}`, username: "netops", password: secret },
    tenantId: ids.tenantId,
  }),
  createUser: (n) => ({ username: `user${n}`, password: secret }),
  createRole: (n) => ({ name: `role ${n}`, description: "of mine", permissionIds: [] }),
  createPermission: (n) => ({
    ...{ name: `permission ${n}`, description: "of mine", actions: ["devices:read"] },
  }),
  createPolicy: (n) => ({
    ...{ name: `policy ${n}`, kind: "backup_config" },
    schedule: { kind: "interval", everyMinutes: 60 },
  }),
  createApiToken: (n) => ({ name: `token ${n}`, expiresInDays: 1 }),
  createJoinToken: (n) => ({ agentName: `agent ${n}`, siteIds: [ids.siteId] }),
};
const ids = { tenantId: "", siteId: "" };

let count = 0;
function next(): number {
  return ++count;
}

Deno.test("every text of everything that can be created is kept as it is, or refused by its field", async (test) => {
  ids.tenantId = (await created("createTenant")).id;
  ids.siteId = (await created("createSite")).id;
  for (const [name, sample] of Object.entries(SAMPLES)) {
    await test.step(name, async () => {
      assert.equal((await create(name, sample(next()))).status, 201);
      const fields = Object.entries(sample(0)).filter(([, value]) => typeof value === "string")
        .map(([field]) => field).filter((field) => !field.endsWith("Id"));
      for (const field of fields) {
        for (const [kind, value] of Object.entries(TEXTS)) await walk(name, { field, kind, value });
      }
    });
  }
  assert.deepEqual(plane.log.filter(({ level }) => level === "error"), []);
});

async function walk(
  name: string,
  { field, kind, value }: { field: string; kind: string; value: string },
): Promise<void> {
  const before = await countRows();
  const { status, body } = await create(name, { ...SAMPLES[name]?.(next()), [field]: value });
  const said = `${name} with ${kind} as its ${field}: ${status} ${JSON.stringify(body)}`;
  if (status === 201) {
    // Passwords come back from nobody; white space around a text is nobody's intention, but for the user name of a device.
    const kept = `${name}.${field}` === "createCredential.username" ? value : value.trim();
    if (field !== "password" && field in body) assert.equal(body[field], kept, said);
    return;
  }
  assert.equal(status, 422, said);
  const { errors = [] } = Problem.parse(body);
  assert.ok(errors.some(({ pointer }) => pointer.startsWith(`#/${field}`)), said);
  assert.deepEqual(await countRows(), before, said);
}

Deno.test("a name that is there already in another case is refused by its field, and nothing is stored", async () => {
  for (
    const name of ["createTenant", "createSite", "createUser", "createRole", "createPermission"]
  ) {
    const field = name === "createUser" ? "username" : "name";
    const body = SAMPLES[name]?.(next()) ?? {};
    await created(name, body);
    const before = await countRows();
    const refused = await create(name, { ...body, [field]: String(body[field]).toUpperCase() });
    assert.equal(refused.status, 409, name);
    assert.equal(Problem.parse(refused.body).errors?.[0]?.pointer, `#/${field}`, name);
    assert.deepEqual(await countRows(), before);
  }
});

Deno.test("ten thousand tags are refused by their field, and ten megabytes before they are read", async () => {
  const body = SAMPLES["createDevice"]?.(next()) ?? {};
  const tags = Array.from({ length: 10_000 }, (_, n) => `tag-${n}`);
  const many = await create("createDevice", { ...body, tags });
  assert.equal(many.status, 422);
  assert.equal(Problem.parse(many.body).errors?.[0]?.pointer, "#/tags");
  const large = await create("createDevice", { ...body, notes: "x".repeat(10_000_000) });
  assert.equal(large.status, 413);
});

Deno.test("a cursor goes on behind what was deleted, and one of another order is refused", async () => {
  const admin = await plane.administrator();
  const first = await admin.call(listDevices, { query: { limit: 1 } });
  const cursor = first.nextCursor ?? assert.fail("there is one page only");
  const second = await admin.call(listDevices, { query: { limit: 1, cursor } });
  await database.sql`delete from devices where id = ${first.items[0]?.id ?? ""}`;
  assert.deepEqual(await admin.call(listDevices, { query: { limit: 1, cursor } }), second);
  for (const stale of [`${cursor}x`, btoa("[1,2,3]"), btoa('["a"]'), btoa("{}")]) {
    const reply = await plane.fetch(`/api/v1/devices?cursor=${encodeURIComponent(stale)}`, {
      headers: await headers(),
    });
    const problem = Problem.parse(await reply.json());
    assert.equal(problem.status, 422, stale);
    assert.equal(problem.errors?.[0]?.pointer, "?cursor");
  }
});

async function headers(): Promise<Record<string, string>> {
  const { cookie } = await plane.administrator();
  return { cookie, origin: plane.publicUrl, "content-type": "application/json" };
}

async function create(name: string, body: unknown) {
  const found = ENDPOINTS.find((endpoint) => endpoint.name === name) ?? assert.fail(name);
  const reply = await plane.fetch(found.endpoint.path, {
    method: "POST",
    headers: await headers(),
    body: JSON.stringify(body),
  });
  return { status: reply.status, body: await reply.json() as Record<string, unknown> };
}

async function created(name: string, given?: unknown): Promise<{ readonly id: string }> {
  const { status, body } = await create(name, given ?? SAMPLES[name]?.(next()));
  assert.equal(status, 201, JSON.stringify(body));
  return { id: String(body["id"]) };
}

/** Of everything that can be created. */
async function countRows(): Promise<unknown> {
  const [row] = await database.sql`
    select (select count(*) from tenants) as tenants, (select count(*) from sites) as sites,
      (select count(*) from devices) as devices, (select count(*) from credentials) as credentials,
      (select count(*) from credential_versions) as versions, (select count(*) from users) as users,
      (select count(*) from roles) as roles, (select count(*) from permissions) as permissions,
      (select count(*) from policies) as policies, (select count(*) from api_tokens) as tokens,
      (select count(*) from join_tokens) as joins, (select count(*) from device_tags) as tags`;
  return row;
}
