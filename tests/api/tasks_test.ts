import assert from "node:assert/strict";
import {
  cancelTask,
  getTask,
  listTaskLog,
  listTasks,
  taskStatistics,
} from "@rookery/shared/api/tasks.ts";
import { insertTask } from "../../control-plane/tasks/store.ts";
import {
  endTask,
  holdTask,
  noteProgress,
  noteTotal,
  postponeTask,
  takeTask,
} from "../../control-plane/tasks/task_lease.ts";
import { runTasks } from "../../control-plane/tasks/run_tasks.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { refusedAs } from "../support/joining.ts";
import { until } from "../support/agent_bench.ts";

const database = testDatabase();
const plane = testControlPlane(database);

/** Orders a task in an empty table: every test has it to itself. */
async function orderTask() {
  await database.sql`delete from tasks`;
  return await insertTask(database.db, { kind: "rewrap_keys", requestedBy: "a test" });
}

async function taken() {
  return await takeTask(database.db) ?? assert.fail("nobody could take the task");
}

async function expireLease(): Promise<void> {
  await database.sql`update tasks set leased_until = now() - interval '1 second'`;
}

Deno.test("listTasks() pages from the newest on, and filters by state", async () => {
  const admin = await plane.administrator();
  const first = await orderTask();
  const second = await insertTask(database.db, { kind: "rewrap_keys", requestedBy: "a test" });
  const page = await admin.call(listTasks, { query: { limit: 1 } });
  assert.deepEqual(page.items.map((task) => task.id), [second]);
  const rest = await admin.call(listTasks, { query: { cursor: page.nextCursor ?? "" } });
  assert.deepEqual(rest.items.map((task) => task.id), [first]);
  assert.equal(rest.nextCursor, null);
  const none = await admin.call(listTasks, { query: { state: "failed" } });
  assert.deepEqual(none.items, []);
});

Deno.test("cancelTask() stops whoever runs it, is audited, and says so when it is too late", async () => {
  const admin = await plane.administrator();
  const taskId = await orderTask();
  const task = await taken();
  const cancelled = await admin.call(cancelTask, { params: { taskId } });
  assert.equal(cancelled.state, "cancelled");
  assert.ok(cancelled.endedAt);
  assert.equal(await inTransaction(database.db, (tx) => holdTask(tx, task)), false);
  await endTask(database.db, task, null);
  assert.equal((await admin.call(getTask, { params: { taskId } })).state, "cancelled");
  await assert.rejects(admin.call(cancelTask, { params: { taskId } }), refusedAs("conflict"));
  const rows = await database.sql`
    select actor_name from audit_rows where action = 'task.cancel' and target_id = ${taskId}`;
  assert.deepEqual(rows.map((row) => row.actor_name), ["admin"]);
});

Deno.test("takeTask() gives a task to one of many, and to another when the first is not heard of any more", async () => {
  const taskId = await orderTask();
  const taken = await Promise.all(Array.from({ length: 8 }, () => takeTask(database.db)));
  const [first, ...more] = taken.filter((task) => task !== undefined);
  assert.equal(more.length, 0);
  assert.equal(first?.id, taskId);
  assert.equal(await takeTask(database.db), undefined);
  await expireLease();
  const second = await takeTask(database.db);
  assert.equal(second?.id, taskId);
  const dead = first ?? assert.fail();
  assert.equal(await inTransaction(database.db, (tx) => holdTask(tx, dead)), false);
  await inTransaction(database.db, (tx) => noteProgress(tx, dead, { cursor: 1, done: 99 }));
  await postponeTask(database.db, dead, "late");
  const [row] = await database.sql`select done, error, state from tasks`;
  assert.deepEqual({ ...row }, { done: "0", error: null, state: "running" });
});

Deno.test("postponeTask() keeps the reason, waits longer each time, and gives up in the end", async () => {
  const admin = await plane.administrator();
  const taskId = await orderTask();
  for (let failures = 1; failures <= 20; failures++) {
    await postponeTask(database.db, await taken(), "Cannot do it");
    const task = await admin.call(getTask, { params: { taskId } });
    assert.equal(task.error, "Cannot do it");
    assert.equal(task.state, failures < 20 ? "waiting" : "failed");
    assert.equal(await takeTask(database.db), undefined, "it does not wait");
    await expireLease();
  }
  assert.equal(await takeTask(database.db), undefined);
});

Deno.test("runTasks() ends a task that has nothing to do, and ends itself when it is told to", async () => {
  const admin = await plane.administrator();
  const taskId = await orderTask();
  const stop = new AbortController();
  const running = runTasks(plane.services, { signal: stop.signal, pollMs: 20 });
  const state = async () => (await admin.call(getTask, { params: { taskId } })).state;
  await until(async () => await state() === "completed", "the task is completed", 20_000);
  stop.abort();
  await running;
  const task = await admin.call(getTask, { params: { taskId } });
  assert.deepEqual([task.done, task.total, task.error], [0, 0, null]);
  assert.ok(task.startedAt && task.endedAt);
});

Deno.test("listTaskLog() tells what became of a task, and taskStatistics() counts", async () => {
  const admin = await plane.administrator();
  const [{ now } = assert.fail()] = await database.sql`select now()::text as now`;
  const from = new Date(now).toISOString();
  const taskId = await orderTask();
  await postponeTask(database.db, await taken(), "Cannot do it");
  await expireLease();
  const task = await taken();
  await noteTotal(database.db, task, 8);
  await inTransaction(database.db, (tx) => noteProgress(tx, task, { cursor: 1, done: 2 }));
  const half = await admin.call(getTask, { params: { taskId } });
  assert.deepEqual([half.percent, half.state], [25, "running"]);
  assert.ok(half.durationMs !== null && half.durationMs >= 0 && half.durationMs < 60_000);
  await endTask(database.db, task, null);
  assert.equal((await admin.call(getTask, { params: { taskId } })).percent, 100);
  const params = { taskId };
  const first = await admin.call(listTaskLog, { params, query: { limit: 3 } });
  const rest = await admin.call(listTaskLog, { params, query: { cursor: first.nextCursor ?? "" } });
  assert.deepEqual([...first.items, ...rest.items].map(({ event, detail }) => [event, detail]), [
    ["created", "waiting"],
    ["started", "running"],
    ["interrupted", "waiting: Cannot do it"],
    ["started", "running: Cannot do it"],
    ["ended", "completed"],
  ]);
  const recent = await admin.call(taskStatistics, { query: { from } });
  assert.deepEqual([recent.total, recent.states.completed, recent.successRate], [1, 1, 1]);
  const query = { from, state: "completed,failed", requestedBy: "a test" };
  assert.deepEqual((await admin.call(listTasks, { query })).items.map(({ id }) => id), [taskId]);
  assert.deepEqual(
    (await admin.call(listTasks, { query: { until: from, state: "running" } })).items,
    [],
  );
});
