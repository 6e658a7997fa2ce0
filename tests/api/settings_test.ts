import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import {
  getSetting,
  listSettings,
  resetSetting,
  updateSettings,
} from "@rookery/shared/api/settings.ts";
import { createUser } from "@rookery/shared/api/users.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { SETTING_KEYS } from "@rookery/shared/settings/mod.ts";
import { runMaintenance } from "../../control-plane/jobs/maintenance.ts";
import { until } from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase({ poolSize: 6 });
const plane = testControlPlane(database);
/** A second replica: another process would share no more with the first than the database. */
const other = testControlPlane(database);

const LENGTH = "security.password_min_length";
const HOURS = "security.session_hours";

Deno.test("listSettings() shows every setting with its default, unit and limits, and those of a category", async () => {
  const admin = await plane.administrator();
  const { items } = await admin.call(listSettings, {});
  assert.deepEqual(items.map(({ key }) => key), SETTING_KEYS);
  for (const item of items) {
    assert.equal(item.category, item.key.split(".")[0]);
    assert.ok(item.description.length > 20, item.key);
    assert.deepEqual([item.value, item.isChanged], [item.default, false], item.key);
  }
  const length = items.find(({ key }) => key === LENGTH);
  assert.deepEqual(length?.schema, { type: "integer", minimum: 12, maximum: 64 });
  assert.equal(length.unit, "characters");
  const { items: some } = await admin.call(listSettings, { query: { category: "queue" } });
  assert.deepEqual(some.map(({ key }) => key), ["queue.maintenance", "queue.max_queued"]);
});

Deno.test("getSetting() reads one; a missing one is not found", async () => {
  const admin = await plane.administrator();
  const setting = await admin.call(getSetting, { params: { key: HOURS } });
  assert.deepEqual([setting.key, setting.value, setting.updatedAt], [HOURS, 168, null]);
  const missing = admin.call(getSetting, { params: { key: "security.no_such_thing" } });
  await assert.rejects(missing, { type: "not-found", status: 404 });
});

Deno.test("updateSettings() stores many at once, says who changed what from what, and resetSetting() takes one back", async () => {
  const admin = await plane.administrator();
  const body = { [LENGTH]: 14, "queue.max_queued": 5_000 };
  const { items } = await admin.call(updateSettings, { body });
  const changed = items.filter(({ isChanged }) => isChanged);
  assert.deepEqual(changed.map(({ key, value }) => [key, value]), Object.entries(body));
  const read = await admin.call(getSetting, { params: { key: LENGTH } });
  assert.deepEqual([read.value, read.default, read.updatedAt !== null], [14, 12, true]);
  const reset = await admin.call(resetSetting, { params: { key: LENGTH } });
  assert.deepEqual([reset.value, reset.isChanged, reset.updatedAt], [12, false, null]);
  const again = await admin.call(resetSetting, { params: { key: LENGTH } });
  assert.equal(again.value, 12);
  await admin.call(updateSettings, { body: { "queue.max_queued": 1_000_000 } });
  assert.deepEqual(await storedNames(), []);
  const { items: audit } = await admin.call(listAuditRows, { query: { targetId: LENGTH } });
  assert.deepEqual(audit.map(({ action, detail }) => [action, detail]), [
    ["setting.reset", { before: 14, after: 12 }],
    ["setting.update", { before: 12, after: 14 }],
  ]);
});

Deno.test("updateSettings() refuses invalid values by the field, and then changes nothing at all", async () => {
  const admin = await plane.administrator();
  const cases: readonly [Record<string, unknown>, string][] = [
    [{ [LENGTH]: 11 }, LENGTH],
    [{ [LENGTH]: 1e9 }, LENGTH],
    [{ [LENGTH]: "20" }, LENGTH],
    [{ [LENGTH]: 20.5 }, LENGTH],
    [{ [LENGTH]: null }, LENGTH],
    [{ "queue.maintenance": "yes" }, "queue.maintenance"],
    [{ "security.no_such_thing": 1 }, "security.no_such_thing"],
  ];
  for (const [wrong, key] of cases) {
    const problem = await refusalOf(
      admin.call(updateSettings, { body: { [HOURS]: 24, ...wrong } as never }),
    );
    assert.equal(problem.status, 422, key);
    assert.deepEqual(problem.errors.map(({ pointer }) => pointer), [`#/${key}`]);
  }
  const kept = await admin.call(getSetting, { params: { key: HOURS } });
  assert.equal(kept.value, 168);
  assert.deepEqual(await storedNames(), []);
});

Deno.test("settings belong to who has the permission, and to nobody's sites", async () => {
  const admin = await plane.administrator();
  const body = { name: "reader", permissions: ["settings:read" as const] };
  const { secret } = await admin.call(createApiToken, { body });
  const bearing = { headers: { authorization: `Bearer ${secret}` } };
  await plane.call(listSettings, {}, bearing);
  const write = await refusalOf(plane.call(updateSettings, { body: {} }, bearing));
  assert.equal(write.status, 403);
  assert.equal((await plane.fetch("/api/v1/settings")).status, 401);
});

Deno.test("a row that another release stored, and that is no value here, stops nothing: the default holds", async () => {
  const admin = await plane.administrator();
  await database.sql`
    insert into settings (name, value)
    values ('security.gone', '1'), (${LENGTH}, '"long"'), (${HOURS}, '"for ever"')`;
  const { items } = await admin.call(listSettings, {});
  assert.equal(items.length, SETTING_KEYS.length);
  assert.equal(items.find(({ key }) => key === LENGTH)?.value, 12);
  await database.sql`delete from settings`;
});

Deno.test("two changes of the same setting at once are audited as they came one after the other", async () => {
  const admin = await plane.administrator();
  const values = [20, 21, 22, 23];
  await Promise.all(
    values.map((value) => admin.call(updateSettings, { body: { [HOURS]: value } })),
  );
  const { items } = await admin.call(listAuditRows, { query: { targetId: HOURS } });
  const steps = items.reverse().map(({ detail }) => detail as { before: number; after: number });
  assert.deepEqual(steps.map(({ after }) => after).sort(), values);
  assert.deepEqual(steps.map(({ before }) => before), [
    168,
    ...steps.slice(0, -1).map(({ after }) => after),
  ]);
  await admin.call(resetSetting, { params: { key: HOURS } });
});

Deno.test("a change that one replica made is in force at the other within two seconds", async () => {
  const admin = await plane.administrator();
  const atOther = onOther(admin.cookie);
  const body = (name: string) => ({ username: name, password: "fourteen chars" });
  // The other one has read the settings just now, so that what it remembers is as young as can be.
  await other.call(createUser, { body: body("before") }, atOther);
  await admin.call(updateSettings, { body: { [LENGTH]: 20 } });
  await delay(1_500);
  const refused = await refusalOf(other.call(createUser, { body: body("after") }, atOther));
  assert.deepEqual(refused.errors, [
    { detail: "must have at least 20 characters", pointer: "#/password" },
  ]);
  await admin.call(resetSetting, { params: { key: LENGTH } });
  await delay(1_500);
  await other.call(createUser, { body: body("after") }, atOther);
});

Deno.test("runMaintenance() keeps what a replica goes by up to date, although nobody asks there", async () => {
  const admin = await plane.administrator();
  const upkeep = new AbortController();
  const maintenance = runMaintenance(other.services, { signal: upkeep.signal });
  const inForce = () => other.services.settings.known["logging.level"];
  try {
    assert.equal(inForce(), "info");
    await admin.call(updateSettings, { body: { "logging.level": "error" } });
    await until(() => inForce() === "error", "it goes by the change");
    await admin.call(resetSetting, { params: { key: "logging.level" } });
    await until(() => inForce() === "info", "it goes by the default again");
  } finally {
    upkeep.abort();
    await maintenance;
  }
});

function onOther(cookie: string) {
  return { headers: { cookie, origin: other.publicUrl } };
}

async function refusalOf(promise: Promise<unknown>): Promise<ProblemError> {
  const error = await promise.then(() => assert.fail("it was not refused"), (error) => error);
  assert.ok(error instanceof ProblemError, error);
  return error;
}

async function storedNames(): Promise<string[]> {
  const rows = await database.sql<{ name: string }[]>`select name from settings order by name`;
  return rows.map(({ name }) => name);
}
