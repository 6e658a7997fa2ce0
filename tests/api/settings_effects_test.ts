/** Every setting is tried: that it changes what it says, at the replica that did not make the change. */
import assert from "node:assert/strict";
import { reportResult } from "@rookery/shared/api/agent_protocol.ts";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import { getCredential } from "@rookery/shared/api/credentials.ts";
import { getDevice } from "@rookery/shared/api/devices.ts";
import { getLoginOptions } from "@rookery/shared/api/oidc.ts";
import { getPolicy, listOccurrences } from "@rookery/shared/api/policies.ts";
import { getQueue, updateQueue } from "@rookery/shared/api/queue.ts";
import { previewRetention } from "@rookery/shared/api/retention.ts";
import { changePassword, getMe, listSessions } from "@rookery/shared/api/sessions.ts";
import { getSetting, resetSetting, updateSettings } from "@rookery/shared/api/settings.ts";
import { createSite, getSite } from "@rookery/shared/api/sites.ts";
import { createUser } from "@rookery/shared/api/users.ts";
import type { AnyEndpoint, CallInput, CallReply } from "@rookery/shared/endpoint.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import {
  SETTING_KEYS,
  type SettingChange,
  type SettingKey,
  type SettingValue,
} from "@rookery/shared/settings/mod.ts";
import { wantsNewKeys } from "../../control-plane/agents/key_store.ts";
import { recordHeartbeat } from "../../control-plane/jobs/heartbeat.ts";
import { sealAuditRows } from "../../control-plane/audit/seal_rows.ts";
import { dropOldSegments } from "../../control-plane/audit/drop_segments.ts";
import { reapLeases } from "../../control-plane/jobs/reap.ts";
import { trimOutbox } from "../../control-plane/outbox/retention.ts";
import { forgetOldRuns } from "../../control-plane/policies/tick.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  freshName,
  makeSite,
  passwordCredential,
  readJob,
  signResult,
  until,
} from "../support/agent_bench.ts";
import { frrConfiguration, makeReportingDevice, report } from "../support/backup_report.ts";
import { ADMINISTRATOR, type Person, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { signIn, startOidcProvider, startSignIn } from "../support/oidc_provider.ts";
import { setScene, tickAt } from "../support/policies.ts";
import * as queue from "../support/queue.ts";

const database = testDatabase({ poolSize: 6 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
/** The replica that makes the changes. */
const maker = testControlPlane(database, { publicUrl: "https://rookery.test" });

const tried = new Set<SettingKey>();

/** What a test of a setting works with. */
interface Trial<Key extends SettingKey> {
  readonly admin: Person;
  /** Changes it at the one replica, and returns when the other one goes by it. */
  set(value: SettingValue<Key>): Promise<void>;
}

/** A test of one setting, which has its default again after it. */
function effect<Key extends SettingKey>(
  key: Key,
  sentence: string,
  run: (trial: Trial<Key>) => Promise<void>,
): void {
  tried.add(key);
  Deno.test(`${key} ${sentence}`, async () => {
    const admin = await plane.administrator();
    const set = async (value: SettingValue<Key>) => {
      await atMaker(admin, updateSettings, { body: { [key]: value } as never });
      // The other replica has until two seconds; settings_test.ts waits for them, and here it looks at once.
      await plane.services.settings.refresh();
    };
    try {
      await run({ admin, set });
    } finally {
      await atMaker(await plane.logIn(...LOGIN), resetSetting, { params: { key } } as never);
      await plane.services.settings.refresh();
    }
  });
}

const LOGIN = [ADMINISTRATOR.username, ADMINISTRATOR.password] as const;

function atMaker<E extends AnyEndpoint>(
  { cookie }: Person,
  endpoint: E,
  input: CallInput<E>,
): Promise<CallReply<E>> {
  return maker.call(endpoint, input, { headers: { cookie, origin: maker.publicUrl } });
}

effect("security.password_min_length", "is asked of new passwords", async ({ admin, set }) => {
  const body = { username: freshName("user").replace(" ", "."), password: "fourteen chars" };
  await admin.call(createUser, { body });
  const own = await plane.logIn(body.username, body.password);
  await set(16);
  const username = freshName("user").replace(" ", ".");
  await refusedAt("#/password", admin.call(createUser, { body: { ...body, username } }));
  const change = { currentPassword: body.password, newPassword: "fifteen letters" };
  await refusedAt("#/newPassword", own.call(changePassword, { body: change }));
  await own.call(changePassword, { body: { ...change, newPassword: "sixteen letters!" } });
});

effect("security.session_hours", "ends logins, older ones too", async ({ admin, set }) => {
  const older = await plane.logIn(...LOGIN);
  await database.sql`update sessions set created_at = now() - interval '3 hours'
    where id = (select id from sessions order by created_at desc limit 1)`;
  await older.call(getMe, {});
  await set(2);
  await assert.rejects(older.call(getMe, {}), { type: "session-required" });
  const newer = await plane.logIn(...LOGIN);
  assert.match(newer.setCookie, /; Max-Age=7200; /);
  const { items } = await newer.call(listSessions, {});
  const { createdAt, expiresAt } = items.find(({ current }) => current) ?? assert.fail();
  assert.equal(secondsBetween(createdAt, expiresAt), 7_200);
  await admin.call(getMe, {});
});

effect("security.session_idle_minutes", "ends logins that nobody uses", async ({ set }) => {
  const idle = await plane.logIn(...LOGIN);
  await database.sql`update sessions set last_used_at = now() - interval '10 minutes'
    where id = (select id from sessions order by created_at desc limit 1)`;
  await set(60);
  await idle.call(getMe, {});
  await database.sql`update sessions set last_used_at = now() - interval '10 minutes'
    where id = (select id from sessions order by created_at desc limit 1)`;
  await set(5);
  await assert.rejects(idle.call(getMe, {}), { type: "session-required" });
});

effect("queue.maintenance", "is what the queue goes by and shows", async ({ admin, set }) => {
  const siteId = await makeSite(plane);
  const [jobId = assert.fail()] = await backUpNow(plane, [await addDevice(plane, siteId)]);
  assert.notEqual((await readJob(plane, jobId)).hold, "maintenance");
  await set(true);
  assert.equal((await readJob(plane, jobId)).hold, "maintenance");
  assert.equal((await admin.call(getQueue, {})).maintenance, true);
  await admin.call(updateQueue, { body: { maintenance: false } });
  const params = { key: "queue.maintenance" };
  assert.equal((await admin.call(getSetting, { params })).value, false);
});

effect("queue.max_queued", "refuses what is beyond it", async ({ admin, set }) => {
  const siteId = await makeSite(plane);
  const deviceId = await addDevice(plane, siteId);
  const { open } = await admin.call(getQueue, {});
  await set(Math.max(1, open));
  assert.equal((await admin.call(getQueue, {})).maxQueued, Math.max(1, open));
  const further = [deviceId, await addDevice(plane, siteId)];
  await assert.rejects(backUpNow(plane, further), { type: "queue-full" });
  await set(open + 2);
  await backUpNow(plane, further);
});

effect("security.api_token_max_days", "bounds new API tokens", async ({ admin, set }) => {
  const create = (expiresInDays?: number) =>
    admin.call(createApiToken, {
      body: { name: freshName("token"), ...expiresInDays && { expiresInDays } },
    });
  const longer = await create(31);
  await set(30);
  await refusedAt("#/expiresInDays", create(31));
  const usual = await create();
  assert.equal(secondsBetween(usual.createdAt, usual.expiresAt ?? ""), 30 * 86_400);
  const headers = { authorization: `Bearer ${longer.secret}` };
  await plane.call(getMe, {}, { headers });
});

effect("security.login_free_failures", "says when guessing has to wait", async ({ set }) => {
  const guess = async (username: string) => {
    const attempts = [1, 2, 3].map(() => plane.logIn(username, "wrong password"));
    const refusals = await Promise.all(
      attempts.map((attempt) => attempt.catch(({ type }) => type)),
    );
    return refusals.toSorted();
  };
  assert.deepEqual(await guess("free.five"), Array(3).fill("invalid-credentials"));
  await set(2);
  const [first, second, third] = await guess("free.two");
  assert.deepEqual([first, second], ["invalid-credentials", "invalid-credentials"]);
  assert.equal(third, "too-many-requests");
});

effect("security.login_longest_wait_seconds", "ends the growth of waits", async ({ set }) => {
  const { throttle } = plane.services;
  const patient = {
    "security.login_free_failures": 20,
    "security.login_longest_wait_seconds": 1,
  };
  for (let n = 0; n < 12; n++) throttle.begin("waits.long", "192.0.2.10", patient);
  const wait = async () => {
    const refused = await plane.logIn("waits.long", "wrong password").catch((error) => error);
    assert.ok(refused instanceof ProblemError && refused.type === "too-many-requests");
    return refused.retryAfterSeconds ?? assert.fail();
  };
  assert.ok(await wait() > 100);
  await set(30);
  assert.ok(await wait() <= 30);
});

/** Another name after so many wrong passwords, and what the next one is answered. */
async function failTimes(failures: number) {
  const username = freshName("user").replace(" ", ".");
  const attempt = () => plane.logIn(username, "wrong password").catch((error) => error);
  for (let n = 0; n < failures; n++) assert.equal((await attempt()).type, "invalid-credentials");
  return { username, next: attempt };
}

effect("security.lockout_failures", "says how many wrong passwords lock", async ({ set }) => {
  assert.equal((await (await failTimes(4)).next()).type, "invalid-credentials");
  await set(4);
  assert.equal((await (await failTimes(4)).next()).type, "login-locked");
  assert.equal((await (await failTimes(3)).next()).type, "invalid-credentials");
});

effect("security.lockout_minutes", "says how long, for those who are locked too", async (trial) => {
  const { admin, set } = trial;
  await atMaker(admin, updateSettings, { body: { "security.lockout_failures": 2 } });
  const { next } = await failTimes(2);
  const seconds = async () => (await next()).retryAfterSeconds;
  assert.ok(await seconds() > 600);
  await set(2);
  assert.ok(await seconds() <= 120);
  await database.sql`update login_failures set last_failed_at = now() - interval '121 seconds'`;
  assert.equal((await next()).type, "invalid-credentials");
  const params = { key: "security.lockout_failures" };
  await atMaker(admin, resetSetting, { params });
});

effect("security.second_factor", "says who must enrol before anything else", async (trial) => {
  const { admin, set } = trial;
  assert.equal((await admin.call(getMe, {})).due, null);
  await set("administrators");
  assert.equal((await admin.call(getMe, {})).due, "second_factor_enrolment");
  await assert.rejects(admin.call(getQueue, {}), { type: "second-factor-enrolment-required" });
  // Nobody but who has enrolled could take it back.
  await database.sql`delete from settings where name = 'security.second_factor'`;
});

effect("oidc.issuer", "says where people sign in, or that they do not", async ({ set }) => {
  await using provider = await startOidcProvider(plane.publicUrl);
  assert.deepEqual(await plane.call(getLoginOptions, {}), { oidc: false });
  await set(provider.issuer);
  assert.deepEqual(await plane.call(getLoginOptions, {}), { oidc: true });
  assert.equal((await whereToSignIn()).origin, provider.issuer);
});

const ASKED = [
  ["oidc.client_id", "client_id", "another"],
  ["oidc.scopes", "scope", "openid groups"],
] as const;

for (const [key, parameter, value] of ASKED) {
  effect(key, "is what the provider is asked with", async ({ admin, set }) => {
    await using _provider = await provided(admin, {});
    assert.notEqual((await whereToSignIn()).searchParams.get(parameter), value);
    await set(value);
    assert.equal((await whereToSignIn()).searchParams.get(parameter), value);
    await atMaker(admin, resetSetting, { params: { key: "oidc.issuer" } });
  });
}

effect("oidc.groups_claim", "says which claim lists the groups", async ({ admin, set }) => {
  await using provider = await provided(admin, { "oidc.roles": "noc = Viewer" });
  provider.people.set("teamed", { preferred_username: "teamed", teams: ["noc"] });
  assert.equal((await signIn(plane, provider, "teamed")).status, 403);
  await set("teams");
  assert.equal((await signIn(plane, provider, "teamed")).status, 200);
  await atMaker(admin, resetSetting, { params: { key: "oidc.roles" } });
  await atMaker(admin, resetSetting, { params: { key: "oidc.issuer" } });
});

effect("oidc.roles", "says which role a group has", async ({ admin, set }) => {
  await using provider = await provided(admin, {});
  provider.people.set("grouped", { preferred_username: "grouped", groups: ["noc", "night"] });
  assert.equal((await signIn(plane, provider, "grouped")).status, 403);
  await set("noc = Viewer; night=Operator");
  const reply = await signIn(plane, provider, "grouped");
  assert.equal((await reply.json()).user.roleIds.length, 2);
  await atMaker(admin, resetSetting, { params: { key: "oidc.issuer" } });
});

/** A provider that both replicas know. */
async function provided(admin: Person, more: SettingChange) {
  const provider = await startOidcProvider(plane.publicUrl);
  const body = { "oidc.issuer": provider.issuer, ...more };
  await atMaker(admin, updateSettings, { body });
  await plane.services.settings.refresh();
  return provider;
}

async function whereToSignIn(): Promise<URL> {
  return new URL((await startSignIn(plane)).authorizationUrl);
}

const SITES = [
  ["site_defaults.host_key_policy", "hostKeyPolicy", "strict"],
  ["site_defaults.max_live", "maxLive", 7],
  ["site_defaults.max_queued", "maxQueued", 700],
  ["site_defaults.lease_ttl_seconds", "leaseTtlSeconds", 77],
  ["site_defaults.shrink_percent", "shrinkPercent", 17],
] as const;

for (const [key, field, value] of SITES) {
  effect(key, "is what new sites have that say nothing else", async ({ admin, set }) => {
    const create = (more = {}) =>
      admin.call(createSite, { body: { name: freshName("site"), ...more } });
    const before = await create();
    assert.notEqual(before[field], value);
    await set(value);
    assert.equal((await create())[field], value);
    assert.equal((await create({ [field]: before[field] }))[field], before[field]);
    const params = { siteId: before.id };
    assert.equal((await admin.call(getSite, { params }))[field], before[field]);
  });
}

const DEVICES = [
  ["device_defaults.connect_seconds", "connectSeconds", 11],
  ["device_defaults.idle_seconds", "idleSeconds", 22],
  ["device_defaults.total_seconds", "totalSeconds", 333],
  ["device_defaults.max_bytes", "maxBytes", 44_444],
] as const;

for (const [key, field, value] of DEVICES) {
  effect(key, "is what new devices have that say nothing else", async ({ admin, set }) => {
    const siteId = await makeSite(plane);
    const create = async (more = {}) => {
      const params = { deviceId: await addDevice(plane, siteId, more) };
      return (await admin.call(getDevice, { params }))[field];
    };
    const before = await create();
    assert.notEqual(before, value);
    await set(value);
    assert.equal(await create(), value);
    assert.equal(await create({ [field]: before }), before);
  });
}

const ATTEMPTS = [
  ["jobs.transport_attempts", "unreachable"],
  ["jobs.busy_attempts", "device_busy"],
  ["jobs.driver_attempts", "pager_stuck"],
  ["jobs.session_attempts", "lease_lost"],
] as const;

for (const [key, code] of ATTEMPTS) {
  effect(key, "says after how many failures a job is dead", async ({ set }) => {
    assert.equal(await failOnce(code), "waiting");
    await set(1);
    assert.equal(await failOnce(code), "dead");
    const others = ATTEMPTS.filter(([other]) => other !== key);
    for (const [, other] of others) assert.equal(await failOnce(other), "waiting");
  });
}

Deno.test("jobs.session_attempts holds for agents that are not heard of any more, too", async () => {
  const admin = await plane.administrator();
  const { agent, lease } = await grantFresh();
  await recordHeartbeat(database.db, { ...agent, leaseIds: [lease.leaseId] });
  await atMaker(admin, updateSettings, { body: { "jobs.session_attempts": 1 } });
  await queue.age(database.db, { leaseId: lease.leaseId, column: "deadline_at" });
  await reapLeases(database.db);
  const [place] = await queue.placeOf(database.db, lease.jobId);
  assert.deepEqual([place?.place, place?.outcome], ["done", "dead"]);
  await atMaker(admin, resetSetting, { params: { key: "jobs.session_attempts" } });
});

/** A device, its agent and the lease of its first job. */
async function grantFresh() {
  const site = await queue.makeSite(database.db, { devices: 1 });
  const agent = await queue.makeAgent(database.db, site);
  await queue.enqueue(database.db, site);
  return { agent, lease: await queue.grantOne(agent) };
}

async function failOnce(code: FailureCode) {
  const granted = { ...await grantFresh(), verdict: queue.failed(code), sha256: "a" };
  return (await queue.settle(database.db, granted)).settled?.outcome;
}

effect("credentials.refusals_to_quarantine", "says how many devices must refuse", async (trial) => {
  const { admin, set } = trial;
  assert.equal((await refuseOnce(admin)).state, "suspect");
  await set(1);
  assert.equal((await refuseOnce(admin)).state, "quarantined");
});

effect(
  "credentials.device_refusals_to_quarantine",
  "says how often one device may refuse",
  async ({ admin, set }) => {
    assert.equal((await refuseOnce(admin)).quarantinedDevices, 0);
    await set(1);
    const refused = await refuseOnce(admin);
    assert.deepEqual([refused.quarantinedDevices, refused.state], [1, "suspect"]);
    const { items } = await admin.call(listAuditRows, { query: { targetId: refused.id } });
    assert.ok(items.some(({ action }) => action === "credential.quarantine_device"));
  },
);

/** A new credential after one device has refused it. */
async function refuseOnce(admin: Person) {
  const credentialId = await passwordCredential(plane);
  const { id: siteId, agent } = await siteWithAgent();
  await using enrolled = agent;
  const boot = await bootByHand(plane, enrolled);
  await backUpNow(plane, [await addDevice(plane, siteId, { credentialId })]);
  const [lease = assert.fail("nothing was granted")] = await boot.claim();
  const failure = { code: "auth_rejected", detail: "as ordered" } as const;
  const result = await signResult(boot, lease, { status: "failed", failure });
  await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
  return await admin.call(getCredential, { params: { credentialId } });
}

async function siteWithAgent() {
  const id = await makeSite(plane);
  return { id, agent: await enrolAgent(plane, [id]) };
}

effect("agents.key_days", "says when agents are told to make new keys", async ({ set }) => {
  await using agent = (await siteWithAgent()).agent;
  const { agentId } = agent.identity;
  await database.sql`update agent_keys set added_at = now() - interval '6 days'
    where agent_id = ${agentId}`;
  assert.equal(await wantsNewKeys(database.db, agentId), false);
  await set(5);
  assert.equal(await wantsNewKeys(database.db, agentId), true);
});

effect("logging.level", "leaves out lines that are less grave", async ({ admin, set }) => {
  const lines = async () => {
    const before = plane.log.length;
    await admin.call(getMe, {});
    return plane.log.slice(before).map(({ message }) => message);
  };
  assert.deepEqual(await lines(), ["request"]);
  await set("error");
  assert.deepEqual(await lines(), []);
  plane.services.log({ level: "error", message: "grave" });
  assert.equal(plane.log.at(-1)?.message, "grave");
});

effect("retention.events_hours", "says which events are kept", async ({ admin, set }) => {
  await backUpNow(plane, [await addDevice(plane, await makeSite(plane))]);
  await database.sql`update outbox set at = now() - interval '3 hours'`;
  const count = async () => {
    await trimOutbox(database.db);
    const [row] = await database.sql<{ count: number }[]>`select count(*)::int from outbox`;
    return row?.count ?? assert.fail();
  };
  assert.ok(await count() > 0);
  await set(2);
  // What a transaction of any database of the server may yet stand before is kept until that has ended.
  await until(async () => await count() === 0, "what is older is gone");
  await admin.call(getQueue, {});
});

effect("retention.audit_days", "says which segments of the audit log go", async ({ set }) => {
  const segments = async () => {
    await sealAuditRows(plane.services, { waitSeconds: 0 });
    const rows = await database.sql`select 1 from audit_segments`;
    return rows.length;
  };
  const drop = () => dropOldSegments(plane.services);
  await until(async () => await segments() > 0, "something is sealed");
  await set(31);
  // The change of the setting itself is in another segment, and the newest one stays.
  await until(async () => await segments() > 1, "more is sealed");
  await database
    .sql`update audit_segments set newest_at = now() - interval '40 days' where number = 1`;
  await set(41);
  assert.equal(await drop(), 0);
  await set(39);
  assert.ok(await drop() > 0);
});

effect("retention.policy_runs_days", "says how far the ledger goes back", async ({ set }) => {
  await using scene = await setScene(plane);
  const policyId = await scene.add();
  const { nextAt } = await scene.admin.call(getPolicy, { params: { policyId } });
  await tickAt(database.db, nextAt ?? assert.fail());
  await database.sql`update occurrences set decided_at = now() - interval '40 days'`;
  const runs = async () => {
    await forgetOldRuns(database.db);
    return (await scene.admin.call(listOccurrences, { params: { policyId } })).items.length;
  };
  assert.equal(await runs(), 1);
  await set(30);
  assert.equal(await runs(), 0);
});

/** A device with five revisions of two and more years ago, and how many of them would go. */
async function oldRevisions(admin: Person) {
  const device = await makeReportingDevice(database.db);
  for (let interfaces = 10; interfaces < 15; interfaces++) {
    await report(plane.services, device, frrConfiguration({ interfaces }));
  }
  await database.sql`update revisions
    set last_seen_at = last_seen_at - make_interval(days => 800 - 10 * number)
    where device_id = ${device.deviceId}`;
  return async () => (await admin.call(previewRetention, {})).revisions;
}

effect("retention.revisions_last", "says how many revisions stay", async ({ admin, set }) => {
  const going = await oldRevisions(admin);
  const before = await going();
  await set(2);
  assert.equal(await going() - before, 3);
});

effect("retention.revisions_days", "says how old revisions may be", async ({ admin, set }) => {
  await admin.call(updateSettings, { body: { "retention.revisions_last": 1 } });
  const going = await oldRevisions(admin);
  const before = await going();
  await set(785);
  assert.ok(before - await going() >= 3);
  await set(3_650);
  assert.equal(await going(), 0);
  await admin.call(resetSetting, { params: { key: "retention.revisions_last" } });
});

Deno.test("every setting has a test of its effect", () => {
  assert.deepEqual([...tried].sort(), [...SETTING_KEYS].sort());
});

async function refusedAt(pointer: string, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(
    promise,
    (error: unknown) =>
      error instanceof ProblemError && error.status === 422 &&
      error.errors.some((field) => field.pointer === pointer),
  );
}

function secondsBetween(from: string, to: string): number {
  return Temporal.Instant.from(from).until(to).total("seconds");
}
