import assert from "node:assert/strict";
import { createApiToken, listApiTokens } from "@rookery/shared/api/api_tokens.ts";
import { sendChangeHints } from "@rookery/shared/api/agent_protocol.ts";
import { createChangeHint, listChangeHints } from "@rookery/shared/api/change_hints.ts";
import { archiveDevice } from "@rookery/shared/api/devices.ts";
import { getJob, listJobs } from "@rookery/shared/api/jobs.ts";
import { getMe } from "@rookery/shared/api/sessions.ts";
import { createUser, updateUser } from "@rookery/shared/api/users.ts";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { orderChanged } from "../../control-plane/change_hints/order_changed.ts";
import { HINT_LIMIT } from "../../control-plane/change_hints/throttle.ts";
import { connectDatabase } from "../../control-plane/database/connect.ts";
import { addDevice, bootByHand, enrolAgent, makeSite } from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { enqueue, grantOne, makeAgent } from "../support/queue.ts";

const database = testDatabase();
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

type Hint = { readonly address: string; readonly user?: string; readonly text?: string };

async function hint(siteId: SiteId, body: Hint) {
  const admin = await plane.administrator();
  return await admin.call(createChangeHint, { params: { siteId }, body });
}

async function waiting(siteId: SiteId) {
  const admin = await plane.administrator();
  return (await admin.call(listChangeHints, { params: { siteId } })).items;
}

async function jobsOf(deviceId: DeviceId) {
  const admin = await plane.administrator();
  return (await admin.call(listJobs, { query: { deviceId } })).items;
}

/** As if so much time had gone by since: everything about the hints of a site is so much older. */
async function pass(siteId: SiteId, seconds: number): Promise<void> {
  await database.sql`
    update change_hints set first_at = first_at - make_interval(secs => ${seconds}),
      last_at = last_at - make_interval(secs => ${seconds}),
      due_at = due_at - make_interval(secs => ${seconds}) where site_id = ${siteId}`;
}

async function siteWithDevice(host: string) {
  const siteId = await makeSite(plane);
  return { siteId, deviceId: await addDevice(plane, siteId, { host }) };
}

async function refusedAs(type: ProblemType, promise: Promise<unknown>): Promise<ProblemError> {
  return await promise.then(() => assert.fail(`not refused as ${type}`), (error) => {
    if (!(error instanceof ProblemError)) throw error;
    assert.equal(error.type, type, error.message);
    return error;
  });
}

function isTooMany({ type }: ProblemError): boolean {
  return type === "too-many-requests";
}

function secondsFromNow(instant: string): number {
  return Temporal.Now.instant().until(instant).total("seconds");
}

Deno.test("createChangeHint() orders one backup when a device has been quiet for a minute", async () => {
  const { siteId, deviceId } = await siteWithDevice("192.0.2.1");
  const text = "%SYS-5-CONFIG_I: Configured from console by alice on vty0 (192.0.2.7)";
  const { devices: [first] } = await hint(siteId, { address: "192.0.2.1", user: "alice", text });
  assert.equal(first?.deviceId, deviceId);
  assert.ok(Math.abs(secondsFromNow(first?.dueAt ?? "") - 60) < 20, first?.dueAt);
  await pass(siteId, 50);
  await hint(siteId, { address: "192.0.2.1", user: "bob", text: "wrote the rest" });
  await pass(siteId, 50);
  assert.equal(await orderChanged(database.db), 0, "only 50 seconds of quiet");
  assert.deepEqual(await jobsOf(deviceId), []);
  await pass(siteId, 11);
  // Two replicas look at the same moment, through pools of their own.
  await using other = connectDatabase(database.address, { poolSize: 1, maxLifetimeSeconds: null });
  const ordered = await Promise.all([orderChanged(database.db), orderChanged(other.db)]);
  assert.deepEqual(ordered.toSorted(), [0, 1]);
  const [job, ...others] = await jobsOf(deviceId);
  assert.deepEqual(others, []);
  assert.deepEqual([job?.kind, job?.urgency], ["backup_config", "normal"]);
  const { cause } = job ?? {};
  assert.equal(cause?.hints, 2);
  assert.deepEqual(
    cause?.reports.map(({ user, text, via, reporter }) => ({ user, text, via, reporter })),
    [
      { user: "alice", text, via: "user", reporter: "admin" },
      { user: "bob", text: "wrote the rest", via: "user", reporter: "admin" },
    ],
  );
  assert.deepEqual(await waiting(siteId), []);
});

Deno.test("createChangeHint() puts a backup off for ten minutes at most", async () => {
  const { siteId, deviceId } = await siteWithDevice("192.0.2.1");
  for (let minutes = 0; minutes < 12 && (await jobsOf(deviceId)).length === 0; minutes++) {
    await hint(siteId, { address: "192.0.2.1", user: "alice" });
    await pass(siteId, 55);
    await orderChanged(database.db);
  }
  const [job] = await jobsOf(deviceId);
  // The eleventh comes 550 seconds after the first one, and its 60 seconds end with the ten minutes.
  assert.equal(job?.cause?.hints, 11);
});

Deno.test("createChangeHint() takes a device by its address, its host name and its name, each as it is meant", async () => {
  const siteId = await makeSite(plane);
  const named = await addDevice(plane, siteId, { host: "core.example.net", name: "Core-1" });
  const six = await addDevice(plane, siteId, { host: "2001:db8::7", port: 22 });
  const sixOther = await addDevice(plane, siteId, { host: "2001:db8::7", port: 2022 });
  const idsFor = async (address: string) =>
    (await hint(siteId, { address })).devices.map(({ deviceId }) => deviceId).sort();
  assert.deepEqual(await idsFor("CORE.example.NET."), [named]);
  assert.deepEqual(await idsFor("core-1"), [named]);
  assert.deepEqual(await idsFor("2001:0DB8:0::0007"), [six, sixOther].sort());
  const hints = await waiting(siteId);
  assert.deepEqual(hints.map(({ deviceId }) => deviceId), [named, six, sixOther].sort());
  assert.equal(hints.find(({ deviceId }) => deviceId === named)?.hints, 2);
});

Deno.test("createChangeHint() says which field names no device, also for one that is archived or elsewhere", async () => {
  const { siteId, deviceId } = await siteWithDevice("192.0.2.1");
  const elsewhere = await siteWithDevice("192.0.2.2");
  for (const address of ["192.0.2.2", "192.0.2.99", "nobody.example.net", "1' or '1'='1.x"]) {
    const isHost = !address.includes("'");
    const problem = await refusedAs(
      isHost ? "not-found" : "validation",
      hint(siteId, { address }),
    );
    assert.deepEqual(problem.errors.map(({ pointer }) => pointer), ["#/address"]);
  }
  const admin = await plane.administrator();
  await hint(siteId, { address: "192.0.2.1" });
  await admin.call(archiveDevice, { params: { deviceId } });
  await refusedAs("not-found", hint(siteId, { address: "192.0.2.1" }));
  await pass(siteId, 61);
  await orderChanged(database.db);
  assert.deepEqual([await jobsOf(deviceId), await waiting(siteId)], [[], []]);
  assert.deepEqual(await waiting(elsewhere.siteId), []);
});

Deno.test("orderChanged() lets a backup that began before the change end, and orders another one", async () => {
  const { db } = database;
  const siteId = await makeSite(plane);
  const deviceId = await addDevice(plane, siteId, { host: "192.0.2.1", credentialId: null });
  const site = { siteId, deviceIds: [deviceId] };
  const agent = await makeAgent(db, site);
  const [early] = await enqueue(db, site);
  const lease = await grantOne(agent);
  await hint(siteId, { address: "192.0.2.1", user: "alice" });
  await pass(siteId, 0);
  await database.sql`update change_hints set due_at = now() where site_id = ${siteId}`;
  assert.equal(await orderChanged(db), 0);
  const [put] = await waiting(siteId);
  assert.ok(secondsFromNow(put?.dueAt ?? "") > 0, "it is looked at again");
  // One that began after it covers the change: it is that job which says what it was for.
  await database.sql`
    update change_hints set due_at = now(), last_at = last_at - interval '1 minute' where site_id = ${siteId}`;
  assert.equal(await orderChanged(db), 1);
  assert.deepEqual(await waiting(siteId), []);
  const jobs = await jobsOf(deviceId);
  assert.deepEqual(jobs.map(({ id, state }) => [id, state]), [[early?.jobId, "leased"]]);
  assert.equal(jobs[0]?.cause?.reports[0]?.user, "alice");
  // Ended meanwhile: the next hint finds nothing in its way.
  await hint(siteId, { address: "192.0.2.1", user: "bob" });
  await database.sql`delete from leases where id = ${lease.leaseId}`;
  await database.sql`delete from open_jobs where site_id = ${siteId}`;
  await pass(siteId, 61);
  assert.equal(await orderChanged(db), 1);
  assert.equal((await jobsOf(deviceId)).length, 2);
});

Deno.test("orderChanged() raises a job that waits, and says in it what else it is for", async () => {
  const { siteId, deviceId } = await siteWithDevice("192.0.2.1");
  const [bulk] = await enqueue(database.db, { siteId, deviceIds: [deviceId] }, { urgency: "bulk" });
  for (const user of ["alice", "bob"]) {
    await hint(siteId, { address: "192.0.2.1", user });
    await pass(siteId, 61);
    await orderChanged(database.db);
  }
  const admin = await plane.administrator();
  const [only, ...others] = await jobsOf(deviceId);
  assert.deepEqual([only?.id, others], [bulk?.jobId, []]);
  const job = await admin.call(getJob, { params: { jobId: bulk?.jobId ?? assert.fail() } });
  assert.deepEqual(job.cause?.reports.map(({ user }) => user), ["alice", "bob"]);
  assert.equal(job.cause?.hints, 2);
  const [ready] = await database.sql`
    select rank < now() as raised from ready where job_id = ${job.id}`;
  assert.equal(ready?.raised, true);
});

Deno.test("orderChanged() loses nothing to a full queue", async () => {
  const siteId = await makeSite(plane, { maxQueued: 1 });
  const [one, two] = [await addDevice(plane, siteId), await addDevice(plane, siteId)];
  const [open] = await enqueue(database.db, { siteId, deviceIds: [one] });
  const [row] = await database.sql`select host from devices where id = ${two}`;
  await hint(siteId, { address: row?.host });
  await pass(siteId, 61);
  assert.equal(await orderChanged(database.db), 0);
  assert.deepEqual((await waiting(siteId)).map(({ deviceId }) => deviceId), [two]);
  await database.sql`delete from open_jobs where job_id = ${open?.jobId ?? ""}`;
  await pass(siteId, 61);
  assert.equal(await orderChanged(database.db), 1);
  assert.equal((await jobsOf(two)).length, 1);
});

Deno.test("createChangeHint() keeps hostile text as what it says, bounded, and writes no audit row for it", async () => {
  const { siteId, deviceId } = await siteWithDevice("192.0.2.1");
  const [before] = await database.sql`select count(*)::int as rows from audit_rows`;
  const hostile = `'; drop table jobs; -- <script>alert(1)</script> \${7*7} \u202eetadpu\n\ttab`;
  await hint(siteId, { address: "192.0.2.1", user: "$(reboot)", text: hostile });
  const [seen] = await waiting(siteId);
  assert.deepEqual(seen?.reports.map(({ user, text }) => [user, text]), [
    ["$(reboot)", "'; drop table jobs; -- <script>alert(1)</script> ${7*7} \ufffdetadpu tab"],
  ]);
  for (const body of [{ text: "a\0b" }, { user: "a\u001bb" }, { text: "x".repeat(501) }]) {
    const problem = await refusedAs("validation", hint(siteId, { address: "192.0.2.1", ...body }));
    assert.deepEqual(problem.errors.map(({ pointer }) => pointer), [`#/${Object.keys(body)[0]}`]);
  }
  for (let user = 0; user < 15; user++) {
    await hint(siteId, { address: "192.0.2.1", user: `u${user}`, text: "€".repeat(500) });
  }
  await hint(siteId, { address: "192.0.2.1", user: "u9", text: "again" });
  await pass(siteId, 61);
  await orderChanged(database.db);
  const [job] = await jobsOf(deviceId);
  assert.equal(job?.cause?.hints, 17);
  const users = ["u5", "u6", "u7", "u8", "u10", "u11", "u12", "u13", "u14", "u9"];
  assert.deepEqual(job?.cause?.reports.map(({ user }) => user), users);
  assert.equal(job?.cause?.reports.at(-1)?.text, "again");
  const [after] = await database.sql`select count(*)::int as rows from audit_rows`;
  assert.deepEqual(after, before);
});

Deno.test("an API token for hints of one site may do that and nothing else", async () => {
  const own = await siteWithDevice("192.0.2.1");
  const other = await siteWithDevice("192.0.2.1");
  const admin = await plane.administrator();
  const body = {
    name: "syslog relay",
    permissions: ["hints:write" as const],
    siteIds: [own.siteId],
  };
  const { secret, ...token } = await admin.call(createApiToken, { body });
  assert.deepEqual([token.permissions, token.siteIds], [["hints:write"], [own.siteId]]);
  const bearing = { headers: { authorization: `Bearer ${secret}` } };
  const tell = (siteId: SiteId) =>
    plane.call(createChangeHint, { params: { siteId }, body: { address: "192.0.2.1" } }, bearing);
  assert.equal((await tell(own.siteId)).devices.length, 1);
  await refusedAs("not-found", tell(other.siteId));
  const params = { siteId: own.siteId };
  await refusedAs("forbidden", plane.call(listChangeHints, { params }, bearing));
  await refusedAs("forbidden", plane.call(getMe, {}, bearing));
  await refusedAs("forbidden", plane.call(listApiTokens, {}, bearing));
  await refusedAs("forbidden", plane.call(createApiToken, { body }, bearing));
  assert.deepEqual(
    (await waiting(own.siteId)).flatMap(({ reports }) => reports.map(({ via }) => via)),
    ["api_token"],
  );
  assert.deepEqual(await waiting(other.siteId), []);
  const { items } = await admin.call(listApiTokens, {});
  assert.deepEqual(items.find(({ id }) => id === token.id)?.siteIds, [own.siteId]);
});

Deno.test("an API token of single sites reads what is there and no other site", async () => {
  const [own, other] = [await siteWithDevice("192.0.2.1"), await siteWithDevice("192.0.2.1")];
  const admin = await plane.administrator();
  const permissions = ["jobs:read" as const, "jobs:write" as const];
  const body = { name: "of one site", permissions, siteIds: [own.siteId] };
  const { secret } = await admin.call(createApiToken, { body });
  const bearing = { headers: { authorization: `Bearer ${secret}` } };
  for (const { siteId } of [own, other]) {
    await hint(siteId, { address: "192.0.2.1" });
    await pass(siteId, 61);
  }
  await orderChanged(database.db);
  const { items } = await plane.call(listJobs, {}, bearing);
  assert.deepEqual(items.map(({ siteId }) => siteId), [own.siteId]);
});

Deno.test("createApiToken() makes no token of what its person lacks, or of what belongs to no site", async () => {
  const admin = await plane.administrator();
  const siteId = await makeSite(plane);
  const login = { username: "ivan", password: "ivans own password" };
  const { id: userId } = await admin.call(createUser, { body: { ...login, administrator: true } });
  const ivan = await plane.logIn(login.username, login.password);
  const hints = { name: "relay", permissions: ["hints:write" as const], siteIds: [siteId] };
  const { secret } = await ivan.call(createApiToken, { body: hints });
  const users = { ...hints, permissions: ["users:write" as const] };
  const unnamed = { name: "relay", siteIds: [siteId] };
  const nowhere = { ...hints, siteIds: [siteId, crypto.randomUUID() as SiteId] };
  const refusals = [
    [ivan.call(createApiToken, { body: users }), "#/permissions/0"],
    [ivan.call(createApiToken, { body: unnamed }), "#/permissions"],
    [ivan.call(createApiToken, { body: nowhere }), "#/siteIds/1"],
  ] as const;
  for (const [call, pointer] of refusals) {
    const problem = await refusedAs("validation", call);
    assert.deepEqual(problem.errors.map((error) => error.pointer), [pointer]);
  }
  await admin.call(updateUser, { params: { userId }, body: { administrator: false } });
  const again = await plane.logIn(login.username, login.password);
  const problem = await refusedAs(
    "validation",
    again.call(createApiToken, { body: { name: "relay", permissions: ["hints:write"] } }),
  );
  assert.deepEqual(problem.errors.map(({ pointer }) => pointer), ["#/permissions/0"]);
  const bearing = { headers: { authorization: `Bearer ${secret}` } };
  const body = { address: "192.0.2.1" };
  await refusedAs("forbidden", plane.call(createChangeHint, { params: { siteId }, body }, bearing));
});

Deno.test("createChangeHint() refuses a token that says too much, with a time, and hears the others", async () => {
  const { siteId } = await siteWithDevice("192.0.2.1");
  const admin = await plane.administrator();
  const tokenOf = async (name: string) => {
    const body = { name, permissions: ["hints:write" as const], siteIds: [siteId] };
    const { secret } = await admin.call(createApiToken, { body });
    return { headers: { authorization: `Bearer ${secret}` } };
  };
  const [loud, calm] = [await tokenOf("loud"), await tokenOf("calm")];
  const tell = (bearing: typeof loud) =>
    plane.call(createChangeHint, { params: { siteId }, body: { address: "192.0.2.9" } }, bearing);
  const refusals: ProblemError[] = [];
  for (let round = 0; round < 10 && !refusals.some(isTooMany); round++) {
    const sent = Array.from({ length: HINT_LIMIT.burst / 2 }, () => tell(loud).catch((e) => e));
    refusals.push(...await Promise.all(sent));
  }
  const taken = refusals.filter(({ type }) => type === "not-found");
  assert.ok(taken.length >= HINT_LIMIT.burst && refusals.some(isTooMany));
  assert.ok(
    refusals.filter(isTooMany).every(({ retryAfterSeconds = 0 }) => retryAfterSeconds >= 1),
  );
  await refusedAs("not-found", tell(calm));
});

Deno.test("sendChangeHints() reaches the devices of the agent's own sites, by host before address", async () => {
  const [own, second, other] = [
    await makeSite(plane),
    await makeSite(plane),
    await makeSite(plane),
  ];
  const relayed = await addDevice(plane, own, { host: "core.example.net", name: "Core-9" });
  const relay = await addDevice(plane, own, { host: "192.0.2.50" });
  const twice = [
    await addDevice(plane, own, { host: "192.0.2.60" }),
    await addDevice(plane, second, { host: "192.0.2.60" }),
  ];
  await addDevice(plane, other, { host: "192.0.2.70" });
  await using enrolled = await enrolAgent(plane, [own, second]);
  const boot = await bootByHand(plane, enrolled);
  const said = { user: "alice", text: "configured", count: 3 };
  const hints = [
    { ...said, address: "192.0.2.50", host: "CORE-9" },
    { ...said, address: "192.0.2.50", host: "core.example.net", user: "bob" },
    { ...said, address: "192.0.2.50", host: "unheard-of" },
    { ...said, address: "192.0.2.60", host: "" },
    { ...said, address: "192.0.2.70", host: "" },
    { ...said, address: "192.0.2.71", host: "192.0.2.70" },
  ];
  const reply = await boot.call(sendChangeHints, { body: { hints } });
  assert.deepEqual(reply, { devices: 4, unknown: [4, 5] });
  const seen = [...await waiting(own), ...await waiting(second)];
  const users = new Map(
    seen.map(({ deviceId, hints, reports }) => [
      deviceId,
      [hints, ...reports.map(({ user }) => user)],
    ]),
  );
  assert.deepEqual(users.get(relayed), [6, "alice", "bob"]);
  for (const deviceId of [relay, ...twice]) assert.deepEqual(users.get(deviceId), [3, "alice"]);
  assert.deepEqual(await waiting(other), []);
  const [via] = seen.flatMap(({ reports }) => reports);
  assert.deepEqual([via?.via, via?.reporter], ["agent", enrolled.identity.name]);
});
