/** The check of everything that is stored: what is sound is said to be, and what is not is named. */
import assert from "node:assert/strict";
import { orderConfigurationCheck } from "@rookery/shared/api/backups.ts";
import { cancelTask, getTask, listTaskLog, type Task } from "@rookery/shared/api/tasks.ts";
import { runTasks } from "../../control-plane/tasks/run_tasks.ts";
import { until } from "../support/agent_bench.ts";
import { frrConfiguration, makeReportingDevice, report } from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { refusedAs } from "../support/joining.ts";

const database = testDatabase();
const plane = testControlPlane(database);

/** Runs a task to its end, and returns it with what it found. */
async function check(): Promise<{ task: Task; found: readonly string[] }> {
  const admin = await plane.administrator();
  const { id: taskId } = await admin.call(orderConfigurationCheck, {});
  const stop = new AbortController();
  const running = runTasks(plane.services, { signal: stop.signal, pollMs: 20 });
  const read = () => admin.call(getTask, { params: { taskId } });
  await until(async () => (await read()).endedAt !== null, "the check has ended");
  stop.abort();
  await running;
  const log = await admin.call(listTaskLog, { params: { taskId }, query: {} });
  const found = log.items.filter(({ event }) => event === "found");
  return { task: await read(), found: found.map(({ detail }) => detail ?? "") };
}

/** A device with a configuration of its own; its digest. */
async function storeOne(description: string) {
  const device = await makeReportingDevice(database.db);
  const text = frrConfiguration().replace("uplink 1\n", `${description}\n`);
  assert.ok((await report(plane.services, device, text)).ok);
  const [row] = await database.sql`
    select d.name, r.raw_sha256 from revisions r join devices d on d.id = r.device_id
    where r.device_id = ${device.deviceId}`;
  return { name: String(row?.name), sha256: String(row?.rawSha256 ?? row?.raw_sha256) };
}

Deno.test("a check of sound configurations is completed, and counts every one", async () => {
  for (let n = 0; n < 60; n++) await storeOne(`uplink ${n}`);
  const { task, found } = await check();
  assert.deepEqual([task.state, task.error, task.done, task.total], ["completed", null, 60, 60]);
  assert.deepEqual(found, []);
});

Deno.test("a check names what is altered and what is missing, by device and revision", async () => {
  const altered = await storeOne("to be altered");
  const missing = await storeOne("to be lost");
  await database.sql`
    update blobs set ciphertext = set_byte(ciphertext, 40, get_byte(ciphertext, 40) # 1)
    where sha256 = ${altered.sha256}`;
  await database.sql`delete from blobs where sha256 = ${missing.sha256}`;
  const { task, found } = await check();
  assert.equal(task.state, "failed");
  assert.match(task.error ?? "", /^2 stored configurations cannot be read: see this task's log/);
  const about = (name: string) => found.filter((line) => line.startsWith(`${name} at `));
  assert.equal(found.length, 2);
  assert.match(
    about(altered.name)[0] ?? "",
    /, running revision 1: it is altered, or its key is lost$/,
  );
  assert.match(about(missing.name)[0] ?? "", /, running revision 1: it is missing$/);
});

Deno.test("a second check is refused while one is under way, and the order stands in the audit log", async () => {
  const admin = await plane.administrator();
  const { id: taskId } = await admin.call(orderConfigurationCheck, {});
  await assert.rejects(
    admin.call(orderConfigurationCheck, {}),
    (error: unknown) => refusedAs("conflict")(error) && String(error).includes(taskId),
  );
  await admin.call(cancelTask, { params: { taskId } });
  const rows = await database.sql`
    select actor_name from audit_rows
    where action = 'configurations.check' and target_id = ${taskId}`;
  assert.deepEqual(rows.map((row) => row.actor_name), ["admin"]);
});
