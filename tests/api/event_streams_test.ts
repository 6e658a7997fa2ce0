import assert from "node:assert/strict";
import { createApiToken, revokeApiToken } from "@rookery/shared/api/api_tokens.ts";
import { followTasks, type TaskChange } from "@rookery/shared/api/tasks.ts";
import { call } from "@rookery/shared/client.ts";
import type { TaskId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { ServerEvent } from "@rookery/shared/server_events.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { eventStream } from "../../control-plane/http/event_stream.ts";
import { trimOutbox } from "../../control-plane/outbox/retention.ts";
import { StreamSlots } from "../../control-plane/outbox/stream_slots.ts";
import { cancelOpen, insertTask } from "../../control-plane/tasks/store.ts";
import { endTask, noteProgress, takeTask } from "../../control-plane/tasks/task_lease.ts";
import { until } from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { listenAt } from "../support/listening.ts";
import { untilShown } from "../support/outbox.ts";

const database = testDatabase();
const plane = testControlPlane(database, { streamTimes: { pollMs: 20, beatMs: 60 } });

type Change = ServerEvent<TaskChange>;
/** More than all other tests of this file leave to be told. */
const MOST_TOLD = 50;

/** A stream that a test reads event by event, of what happens from now on or behind an event; disposing it ends it. */
async function follow(options: { lastEventId?: string; token?: string; taskId?: TaskId } = {}) {
  const admin = await plane.administrator();
  if (!options.lastEventId) await untilShown(database.sql);
  const headers = new Headers(options.lastEventId ? { "last-event-id": options.lastEventId } : {});
  if (options.token) headers.set("authorization", `Bearer ${options.token}`);
  else headers.set("cookie", admin.cookie);
  const query = options.taskId ? { taskId: options.taskId } : {};
  const send = (request: Request) => plane.fetch(request);
  const events = await call(send, plane.publicUrl, followTasks, { query }, { headers });
  const iterator = events[Symbol.asyncIterator]();
  return {
    async next(): Promise<Change> {
      const { done, value } = await iterator.next();
      return done ? assert.fail("the stream is over") : value;
    },
    /** Whether it ends, with whatever was still to be told. */
    isOver: async () => {
      for (let told = 0; told < MOST_TOLD; told++) {
        if ((await iterator.next()).done) return true;
      }
      return false;
    },
    [Symbol.asyncDispose]: async () => void await iterator.return?.(),
  };
}

function said(event: Change): readonly unknown[] {
  return event.event === "change"
    ? [event.data.change, event.data.state, event.data.done, event.data.taskId]
    : [event.event];
}

function orderTask(): Promise<TaskId> {
  return insertTask(database.db, { kind: "rewrap_keys", requestedBy: "a test" });
}

async function runTask(): Promise<void> {
  const task = await takeTask(database.db) ?? assert.fail("there is no task");
  await inTransaction(database.db, (tx) => noteProgress(tx, task, { cursor: 1, done: 7 }));
  await endTask(database.db, task, null);
}

Deno.test("a stream tells what happens from its hello on, in order, and no task twice", async () => {
  await orderTask().then(runTask);
  await using stream = await follow();
  assert.equal((await stream.next()).event, "hello");
  const taskId = await orderTask();
  await runTask();
  const seen = [await stream.next(), await stream.next(), await stream.next(), await stream.next()];
  assert.deepEqual(seen.map(said), [
    ["created", "waiting", 0, taskId],
    ["started", "running", 0, taskId],
    ["progress", "running", 7, taskId],
    ["ended", "completed", 7, taskId],
  ]);
  const ids = seen.map(({ id }) => id);
  assert.equal(new Set(ids).size, 4);
});

Deno.test("a stream goes on where the reader was, for one task only if so asked", async () => {
  let lastEventId = "";
  const first = await orderTask();
  await using other = await follow({ taskId: first });
  assert.equal((await other.next()).event, "hello");
  {
    await using stream = await follow();
    await stream.next();
    const second = await orderTask();
    const created = await stream.next();
    assert.deepEqual(said(created), ["created", "waiting", 0, second]);
    lastEventId = created.id;
  }
  const third = await orderTask();
  const cancel = (taskId: TaskId) => inTransaction(database.db, (tx) => cancelOpen(tx, taskId));
  await cancel(third);
  await cancel(first);
  await using again = await follow({ lastEventId });
  assert.equal((await again.next()).event, "hello");
  assert.deepEqual(said(await again.next()), ["created", "waiting", 0, third]);
  assert.deepEqual(said(await again.next()), ["ended", "cancelled", 0, third]);
  assert.deepEqual(said(await again.next()), ["ended", "cancelled", 0, first]);
  assert.deepEqual(said(await other.next()), ["ended", "cancelled", 0, first]);
  await runTask();
});

Deno.test("a stream passes over no change of a transaction that began earlier and commits later", async () => {
  await using stream = await follow();
  await stream.next();
  const begun = Promise.withResolvers<TaskId>();
  const commit = Promise.withResolvers<void>();
  const slow = inTransaction(database.db, async (tx) => {
    const taskId = await insertTask(tx, { kind: "rewrap_keys", requestedBy: "slow" });
    begun.resolve(taskId);
    await commit.promise;
  });
  const early = await begun.promise;
  const late = await orderTask();
  const next = stream.next();
  const first = await Promise.race([next, new Promise((resolve) => setTimeout(resolve, 200))]);
  commit.resolve();
  await slow;
  assert.equal(first, undefined, "the later one was told before the earlier one could be");
  assert.deepEqual(said(await next), ["created", "waiting", 0, early]);
  assert.deepEqual(said(await stream.next()), ["created", "waiting", 0, late]);
  await runTask();
  await runTask();
});

Deno.test("a stream says reset to whoever was away for too long, and to whoever comes from elsewhere", async () => {
  let lastEventId = "";
  {
    await using stream = await follow();
    lastEventId = (await stream.next()).id;
  }
  await orderTask();
  await runTask();
  // What a transaction of any database of the server may yet stand before is kept until that has ended.
  await until(async () => {
    await trimOutbox(database.db, { keptHours: 0 });
    const [left] = await database.sql`select count(*)::int as count from outbox`;
    return left?.count === 0;
  }, "nothing is left");
  const [incarnation, xid] = lastEventId.split("-");
  const fromAnother = `${Number(incarnation) + 1}-${xid}-0-0`;
  const fromTheFuture = `${incarnation}-${"9".repeat(18)}-0-0`;
  for (const id of [lastEventId, fromAnother, fromTheFuture, "1", "-1", "x".repeat(5_000)]) {
    await using stream = await follow({ lastEventId: id });
    const reset = await stream.next();
    assert.equal(reset.event, "reset", id.slice(0, 40));
    await using again = await follow({ lastEventId: reset.id });
    assert.equal((await again.next()).event, "hello");
  }
});

Deno.test("trimOutbox() keeps what no reader could be shown yet, however old", async () => {
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  const slow = inTransaction(database.db, async (tx) => {
    await insertTask(tx, { kind: "rewrap_keys", requestedBy: "slow" });
    begun.resolve();
    await end.promise;
  });
  await begun.promise;
  const late = await orderTask();
  await trimOutbox(database.db, { keptHours: 0 });
  const kept = await database.sql`select 1 from outbox where ${late} = any(ids)`;
  end.resolve();
  await slow;
  assert.equal(kept.length, 1);
  await runTask();
  await runTask();
});

Deno.test("a silent stream keeps its place fresh, and holds no database connection", async () => {
  const { cookie } = await plane.administrator();
  const opened = Array.from({ length: 12 }, () => follow());
  const streams = await Promise.all(opened);
  try {
    for (const stream of streams) await stream.next();
    const reply = await plane.fetch("/api/v1/tasks/events", { headers: { cookie } });
    assert.equal(reply.headers.get("content-type"), "text/event-stream");
    const reader = reply.body?.pipeThrough(new TextDecoderStream()).getReader() ?? assert.fail();
    assert.match(
      (await reader.read()).value ?? "",
      /^id: \d+-\d+-0-0\nevent: hello\ndata: \{\}\n\n$/,
    );
    assert.match((await reader.read()).value ?? "", /^: still here\nid: \d+-\d+-0-0\n\n$/);
    await reader.cancel();
  } finally {
    for (const stream of streams) await stream[Symbol.asyncDispose]();
  }
});

Deno.test("a stream flows through a real socket, piece by piece, and ends with the connection and with the server", async () => {
  const { cookie } = await plane.administrator();
  await using listening = await listenAt(plane);
  const client = Deno.createHttpClient({});
  const address = `http://127.0.0.1:${listening.port}/api/v1/tasks/events`;
  const open = async () => {
    const reply = await fetch(address, { headers: { cookie }, client });
    const reader = reply.body?.pipeThrough(new TextDecoderStream()).getReader() ?? assert.fail();
    assert.match((await reader.read()).value ?? "", /event: hello/);
    return reader;
  };
  const [first, second] = [await open(), await open()];
  await orderTask();
  let text = "";
  while (!text.includes('"change":"created"')) text += (await first.read()).value ?? assert.fail();
  await first.cancel();
  const shutdown = listening.shutdown(0);
  await assert.rejects(async () => {
    while (!(await second.read()).done);
    throw new Error("the stream is over");
  });
  await shutdown;
  client.close();
  await runTask();
});

Deno.test("a stream ends when its token is revoked", async () => {
  const admin = await plane.administrator();
  const body = { name: "watcher", expiresInDays: 1 };
  const { id: apiTokenId, secret } = await admin.call(createApiToken, { body });
  await using stream = await follow({ token: secret });
  assert.equal((await stream.next()).event, "hello");
  await admin.call(revokeApiToken, { params: { apiTokenId } });
  assert.equal(await stream.isOver(), true);
  await assert.rejects(
    follow({ token: secret }),
    (error) => error instanceof ProblemError && error.type === "session-required",
  );
});

Deno.test("StreamSlots lets nobody hold more streams than one person may, and takes given back ones again", () => {
  const slots = new StreamSlots({ perPerson: 2, total: 3 });
  const refused = (error: unknown) =>
    error instanceof ProblemError && error.type === "too-many-requests" &&
    error.retryAfterSeconds !== undefined;
  const leave = slots.enter("anna");
  slots.enter("anna");
  assert.throws(() => slots.enter("anna"), refused);
  slots.enter("bo");
  assert.throws(() => slots.enter("bo"), refused);
  leave();
  leave();
  slots.enter("bo");
  assert.throws(() => slots.enter("cy"), refused);
});

Deno.test("eventStream() cuts off a reader that takes nothing, and asks for nothing meanwhile", async () => {
  let asked = 0;
  const ended = Promise.withResolvers<void>();
  const next = () => Promise.resolve([{ id: String(++asked), event: "change", data: {} }]);
  const { signal } = new AbortController();
  const stream = eventStream(next, {
    signal,
    patienceMs: 30,
    onEnd: () => Promise.resolve(ended.resolve()),
  });
  const reader = stream.getReader();
  await reader.read();
  await ended.promise;
  assert.ok(asked <= 2, `asked ${asked} times`);
  await assert.rejects(async () => {
    for (;;) await reader.read();
  }, /takes nothing/);
});

Deno.test("eventStream() ends with its caller", async () => {
  const caller = new AbortController();
  const ended = Promise.withResolvers<void>();
  const next = (signal: AbortSignal) =>
    new Promise<undefined>((resolve) => signal.addEventListener("abort", () => resolve(undefined)));
  const { signal } = caller;
  const stream = eventStream(next, {
    signal,
    patienceMs: 10_000,
    onEnd: () => Promise.resolve(ended.resolve()),
  });
  const read = stream.getReader().read();
  caller.abort();
  assert.equal((await read).done, true);
  await ended.promise;
});
