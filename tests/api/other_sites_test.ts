/** What another site has: nobody whose roles reach one site learns of it, through no endpoint. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { createJoinToken } from "@rookery/shared/api/agents.ts";
import { createCredential } from "@rookery/shared/api/credentials.ts";
import { createDevice } from "@rookery/shared/api/devices.ts";
import { createHostKey, openHostKeyWindow } from "@rookery/shared/api/host_keys.ts";
import { createJobs, getJob } from "@rookery/shared/api/jobs.ts";
import { followJobs } from "@rookery/shared/api/job_history.ts";
import { ENDPOINTS } from "@rookery/shared/api/mod.ts";
import { updatePermission } from "@rookery/shared/api/permissions.ts";
import { createPolicy } from "@rookery/shared/api/policies.ts";
import { getQueue } from "@rookery/shared/api/queue.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import { createTenant } from "@rookery/shared/api/tenants.ts";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
import type { AgentId, SiteId } from "@rookery/shared/ids.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import { frrConfiguration, report } from "../support/backup_report.ts";
import { type Person, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";

const database = testDatabase();
const plane = testControlPlane(database, { streamTimes: { pollMs: 20, beatMs: 100 } });

const forPeople = ENDPOINTS.filter(({ endpoint: { access } }) =>
  access !== "public" && access !== "agent"
);
const lists = forPeople.filter(({ endpoint }) =>
  endpoint.method === "GET" && !endpoint.path.includes(":") && endpoint.replyAs === "json"
);

Deno.test("no list, count or other reply without an id tells somebody of one site what another has", async () => {
  const { near, far } = await worlds();
  const admin = await plane.administrator();
  const telling: string[] = [];
  for (const { name, endpoint } of lists) {
    const everything = await textOf(admin, endpoint, endpoint.path);
    if (marksIn(everything, far).length > 0) telling.push(name);
    for (const person of near.people) {
      const seen = await textOf(person, endpoint, endpoint.path);
      assert.deepEqual(marksIn(seen, far), [], `${name}: ${seen}`);
    }
  }
  // To an administrator these tell of the other site: so the marks are what would show it.
  for (const noun of ["Agents", "AuditRows", "Credentials", "Devices", "HostKeys", "Jobs"]) {
    assert.ok(telling.includes(`list${noun}`), noun);
  }
  assert.ok(telling.length >= 11, String(telling));
});

Deno.test("what is counted is what is at the own site", async () => {
  const { near } = await worlds();
  const counting = await Promise.all(near.people.map((person) => person.call(getQueue, {})));
  assert.deepEqual(counting.map(({ open }) => open), near.people.map(() => 1));
  assert.ok((await (await plane.administrator()).call(getQueue, {})).open >= 2);
});

for (const { name, endpoint } of forPeople.filter(({ endpoint: { params } }) => params)) {
  Deno.test(`${name} answers for an id of another site as for one that nobody has`, async () => {
    const { near, far } = await worlds();
    for (const person of near.people) {
      const other = await answerOf(person, endpoint, far.ids);
      const unknown = await answerOf(person, endpoint, {});
      assert.deepEqual(other, unknown);
      assert.ok(other.status >= 400, JSON.stringify(other));
    }
  });
}

for (const { name, endpoint } of lists.filter(({ endpoint }) => idsIn(endpoint).length > 0)) {
  Deno.test(`${name} answers for a filter by another site's ids as for one by nobody's`, async () => {
    const { near, far } = await worlds();
    for (const field of idsIn(endpoint)) {
      for (const person of near.people) {
        const asked = (ids: Ids) => `${endpoint.path}?${field}=${ids[field] ?? UNKNOWN}`;
        const other = await textOf(person, endpoint, asked(far.ids));
        const unknown = await textOf(person, endpoint, asked({}));
        assert.equal(neutral(other, far.ids), neutral(unknown, far.ids), field);
      }
    }
  });
}

const device = { name: "new", host: "192.0.2.77", platform: "frr" };
const policy = {
  name: "new",
  kind: "backup_config",
  schedule: { kind: "daily", time: "12:00" },
};
const key = { keyType: "ssh-ed25519", fingerprint: `SHA256:${"B".repeat(43)}` };

/** Orders that name what they are about in their body, made of ids. */
const ORDERS: Readonly<Record<string, ((id: (name: string) => string) => unknown)[]>> = {
  createDevice: [(id) => ({ ...device, siteId: id("siteId") })],
  createHostKey: [(id) => ({ ...key, deviceId: id("deviceId") })],
  createJobs: [
    (id) => ({ deviceIds: [id("deviceId")] }),
    (id) => ({ siteId: id("siteId") }),
  ],
  createPolicy: [
    (id) => ({ ...policy, selection: { siteIds: [id("siteId")] } }),
    (id) => ({ ...policy, selection: { deviceIds: [id("deviceId")] } }),
  ],
  createJoinToken: [(id) => ({ agentName: "new", siteIds: [id("siteId")] })],
  openHostKeyWindow: [
    (id) => ({ siteId: id("siteId"), minutes: 5 }),
    (id) => ({ deviceId: id("deviceId"), minutes: 5 }),
  ],
  importKnownHosts: [(id) => ({ siteId: id("siteId"), text: "192.0.2.1 ssh-ed25519 AAAA" })],
  decideHostKeys: [
    (id) => ({ decision: "accept", hostKeyIds: [id("hostKeyId")] }),
    (id) => ({ decision: "accept", siteId: id("siteId"), expected: 1 }),
  ],
  decideQuarantine: [
    (id) => ({ decision: "accept", revisionIds: [id("revisionId")] }),
    (id) => ({ decision: "accept", siteId: id("siteId"), expected: 1 }),
  ],
  exportConfigurations: [(id) => ({ deviceIds: [id("deviceId")] })],
  cancelJobs: [(id) => ({ jobIds: [id("jobId")] })],
  requeueJobs: [(id) => ({ jobIds: [id("jobId")] })],
  createSite: [(id) => ({ name: "new", tenantId: id("tenantId") })],
  createCredential: [
    (id) => ({ name: "new", username: "u", password: "p", tenantId: id("tenantId") }),
  ],
};

for (const [name, orders] of Object.entries(ORDERS)) {
  Deno.test(`${name} takes no order about another site, and answers as if it were nowhere`, async () => {
    const { near, far } = await worlds();
    const { endpoint } = forPeople.find((named) => named.name === name) ?? assert.fail();
    for (const person of near.people) {
      for (const order of orders) {
        const other = await answerOf(person, endpoint, far.ids, order((id) => far.ids[id] ?? ""));
        const unknown = await answerOf(person, endpoint, far.ids, order(() => UNKNOWN));
        assert.deepEqual(other, unknown);
        assert.ok(other.status >= 400, JSON.stringify(other));
      }
    }
  });
}

Deno.test("nothing of the other site was changed by all that, and nothing was an internal error", async () => {
  const { far } = await worlds();
  const admin = await plane.administrator();
  const job = await admin.call(getJob, { params: { jobId: far.ids.jobId as never } });
  assert.equal(job.state, "available");
  const [row] = await database.sql`
    select (select count(*)::int from devices where site_id = ${far.siteId}) as devices,
      (select count(*)::int from open_jobs where site_id = ${far.siteId}) as jobs,
      (select status from agents where id = ${far.ids.agentId ?? null}) as agent`;
  assert.deepEqual(row, { devices: 1, jobs: 1, agent: "active" });
  assert.deepEqual(plane.log.filter(({ level }) => level === "error"), []);
});

Deno.test("a stream of events tells of the own site alone, and follows a permission that moves", async () => {
  const admin = await plane.administrator();
  const [one, other] = [await furnish("heard-first"), await furnish("heard-later")];
  const selector = { siteIds: [one.siteId] };
  const person = await makePerson(plane, { name: "listener", actions: ["jobs:read"], selector });
  const stream = (await person.call(followJobs, {}))[Symbol.asyncIterator]();
  await stream.next();
  const orderAt = (world: World, kind: "check_reachability" | "detect_platform") =>
    admin.call(createJobs, { body: { siteId: world.siteId, kind } });
  const heard = async () => {
    const { value } = await stream.next();
    return JSON.stringify(value?.data);
  };
  await orderAt(other, "check_reachability");
  await orderAt(one, "check_reachability");
  assert.match(await heard(), new RegExp(one.siteId));
  const params = { permissionId: person.permissionId };
  const body = { selector: { siteIds: [other.siteId] } };
  await admin.call(updatePermission, { params, body });
  await delay(1_000);
  await orderAt(one, "detect_platform");
  await orderAt(other, "detect_platform");
  assert.match(await heard(), new RegExp(other.siteId));
  await stream.return?.();
});

type Ids = Readonly<Record<string, string | undefined>>;

interface World {
  readonly siteId: SiteId;
  readonly tenantId: string;
  readonly name: string;
  readonly ids: Ids;
}

const UNKNOWN = "00000000-0000-4000-8000-000000000000";
let made: Promise<{ near: World & { people: readonly Person[] }; far: World }> | undefined;

/** Two tenants of one site each, and two people of the one: by a role for the site, and by one for the tenant. */
function worlds() {
  return made ??= (async () => {
    const [near, far] = [await furnish("nearby"), await furnish("faraway")];
    const actions = ["*" as const];
    const bySite = { siteIds: [near.siteId] };
    const byTenant = { tenantIds: [near.tenantId as never] };
    const people = [
      await makePerson(plane, { name: "one", actions, selector: bySite }),
      await makePerson(plane, { name: "two", actions, selector: byTenant }),
    ];
    return { near: { ...near, people }, far };
  })();
}

/** A tenant with one of everything. */
async function furnish(name: string): Promise<World> {
  const admin = await plane.administrator();
  const { id: tenantId } = await admin.call(createTenant, { body: { name } });
  const { id: siteId } = await admin.call(createSite, { body: { name, tenantId } });
  const secret = { name, username: name, password: "a secret", tenantId };
  const { id: credentialId } = await admin.call(createCredential, { body: secret });
  const thing = { siteId, name, host: "192.0.2.1", platform: "frr", credentialId, tags: [name] };
  const { id: deviceId } = await admin.call(createDevice, { body: thing });
  const pin = { deviceId, keyType: "ssh-ed25519", fingerprint: `SHA256:${"A".repeat(43)}` };
  const { id: hostKeyId } = await admin.call(createHostKey, { body: pin });
  const { id: windowId } = await admin.call(openHostKeyWindow, { body: { siteId, minutes: 60 } });
  await report(plane.services, { siteId, deviceId }, frrConfiguration({ password: name }));
  const { jobs: [ordered] } = await admin.call(createJobs, { body: { deviceIds: [deviceId] } });
  const selection = { siteIds: [siteId] };
  const { id: policyId } = await admin.call(createPolicy, {
    body: { name, kind: "backup_config", schedule: { kind: "daily", time: "12:00" }, selection },
  });
  const wanted = { agentName: `${name}-next`, siteIds: [siteId] };
  const { id: joinTokenId } = await admin.call(createJoinToken, { body: wanted });
  const agentId = await insertAgent(name, tenantId, siteId);
  const [revision] = await database.sql`select id from revisions where device_id = ${deviceId}`;
  const ids = {
    ...{ tenantId, siteId, credentialId, deviceId, hostKeyId, windowId, policyId, joinTokenId },
    ...{ agentId, jobId: ordered?.jobId, revisionId: revision?.id, against: revision?.id },
  };
  return { siteId, tenantId, name, ids };
}

async function insertAgent(name: string, tenantId: string, siteId: SiteId): Promise<AgentId> {
  const id = newId<AgentId>();
  await database.sql`
    insert into agents (id, tenant_id, name, sign_jwk, seal_jwk, thumbprint)
    values (${id}, ${tenantId}, ${name}, '{}', '{}', ${name})`;
  await database.sql`insert into agent_sites (agent_id, site_id) values (${id}, ${siteId})`;
  return id;
}

/** What in a text is of a world. */
function marksIn(text: string, { name, ids }: World): string[] {
  return [name, ...Object.values(ids)].filter((mark) => mark !== undefined && text.includes(mark))
    .map(String);
}

/** The fields of a query that are ids. */
function idsIn({ query }: AnyEndpoint): readonly string[] {
  return Object.keys(query?.shape ?? {}).filter((field) => field.endsWith("Id"));
}

async function textOf(person: Person, endpoint: AnyEndpoint, path: string): Promise<string> {
  return await (await send(person, endpoint, path)).text();
}

/** The answer without what differs from request to request, and without the ids that were asked for. */
async function answerOf(person: Person, endpoint: AnyEndpoint, ids: Ids, body?: unknown) {
  const path = endpoint.path.replaceAll(
    /:(\w+)/g,
    (_match, name: string) => (body === undefined ? ids[name] : undefined) ?? UNKNOWN,
  );
  const reply = await send(person, endpoint, path, body ?? BODIES[endpoint.path] ?? {});
  return { status: reply.status, text: neutral(await reply.text(), ids) };
}

/** Bodies without which an order is refused before its id is looked at. */
const BODIES: Readonly<Record<string, unknown>> = {
  "/api/v1/agents/:agentId/approve": { fingerprint: "A".repeat(43) },
  "/api/v1/agents/:agentId/retrust": { bootId: UNKNOWN },
  "/api/v1/sites/:siteId/change-hints": { address: "192.0.2.1" },
};

function neutral(text: string, ids: Ids): string {
  const named = Object.values(ids).filter((id) => id !== undefined);
  return [...named, UNKNOWN].reduce((rest, id) => rest.replaceAll(id, "ID"), text)
    .replaceAll(/"(instance|from|until)":"[^"]*"/g, "");
}

async function send(person: Person, endpoint: AnyEndpoint, path: string, body?: unknown) {
  const { cookie } = person;
  const headers = { cookie, origin: plane.publicUrl, "content-type": "application/json" };
  return await plane.fetch(path, {
    method: endpoint.method,
    headers,
    ...(endpoint.body ? { body: JSON.stringify(body ?? {}) } : {}),
  });
}
