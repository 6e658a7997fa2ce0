import type { Kysely } from "kysely";
import { z } from "zod";
import {
  cancelTask,
  followTasks,
  getTask,
  listTaskLog,
  listTasks,
  TaskState,
  taskStatistics,
} from "@rookery/shared/api/tasks.ts";
import { Instant, TaskId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { reachOf } from "../http/caller.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { openStream, type StreamServices } from "../outbox/open_stream.ts";
import type { Scope } from "../permissions/scope.ts";
import { taskOf } from "./replies.ts";
import * as store from "./store.ts";
import { selectTaskLog } from "./task_log.ts";

const LogPlace = z.strictObject({ at: Instant, id: z.uuid() });

/** Long work of the control plane itself. It belongs to no site: whoever sees some sites only sees none of it. */
export function mountTasks(app: App, services: StreamServices): void {
  const { db } = services;

  route(app, listTasks, async ({ query: { limit, cursor, ...filter } }, { scope }) => {
    const before = readCursor(cursor, TaskId);
    const rows = scope.all
      ? await store.selectTasks(db, { ...filter, before, limit: limit + 1 })
      : [];
    return pageOf(rows, limit, { item: taskOf, position: (row) => row.id });
  });

  route(
    app,
    followTasks,
    ({ query: { taskId } }, { caller, request, signal }) =>
      openStream(services, {
        caller,
        signal,
        lastEventId: request.headers.get("last-event-id"),
        scopeOf: (now) => reachOf(now, followTasks.access),
        view: ({ noun, ids, change, at, detail }, index, scope) => {
          const id = ids[index];
          if (noun !== "task" || !scope.all || (taskId ?? id) !== id) return undefined;
          return { taskId: id, change, at: at.toString(), ...detail };
        },
      }),
  );

  route(app, taskStatistics, async ({ query }, { scope }) => {
    const counts = scope.all ? await store.countTasks(db, query) : new Map<TaskState, number>();
    const of = (state: TaskState) => counts.get(state) ?? 0;
    const states = Object.fromEntries(TaskState.options.map((state) => [state, of(state)]));
    const judged = of("completed") + of("failed");
    return {
      total: [...counts.values()].reduce((sum, count) => sum + count, 0),
      states: states as Record<TaskState, number>,
      successRate: judged === 0 ? null : of("completed") / judged,
    };
  });

  route(app, getTask, async ({ params }, { scope }) => {
    return taskOf(await readTask(db, scope, params.taskId));
  });

  route(
    app,
    listTaskLog,
    async ({ params: { taskId }, query: { limit, cursor } }, { scope }) => {
      await readTask(db, scope, taskId);
      const after = readCursor(cursor, LogPlace);
      const rows = await selectTaskLog(db, { taskId, after, limit: limit + 1 });
      const lines = rows.map((row) => ({ ...row, at: row.at.toString() }));
      return pageOf(lines, limit, { item: (line) => line, position: ({ at, id }) => ({ at, id }) });
    },
  );

  route(app, cancelTask, async ({ params: { taskId } }, context) => {
    const { kind } = await readTask(db, context.scope, taskId);
    await inTransaction(db, async (tx) => {
      if (!await store.cancelOpen(tx, taskId)) {
        throw new ProblemError("conflict", "This task has ended already.");
      }
      const target = { kind: "task", id: taskId };
      const entry = { actor: actorOf(context), action: "task.cancel", target };
      await writeAudit(tx, { ...entry, detail: { kind } });
    });
    return taskOf(await readTask(db, context.scope, taskId));
  });
}

async function readTask(db: Kysely<Database>, scope: Scope, taskId: TaskId) {
  const [row] = scope.all ? await store.selectTasks(db, { taskId, limit: 1 }) : [];
  if (!row) throw new ProblemError("not-found", "There is no such task.");
  return row;
}
