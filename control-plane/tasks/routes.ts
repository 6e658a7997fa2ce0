import type { Kysely } from "kysely";
import { cancelTask, getTask, listTasks, TaskKind } from "@rookery/shared/api/tasks.ts";
import { TaskId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import type { Scope } from "../permissions/scope.ts";
import * as store from "./store.ts";

/** Long work of the control plane itself. It belongs to no site: whoever sees some sites only sees none of it. */
export function mountTasks(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listTasks, async ({ query: { limit, cursor, ...filter } }, { scope }) => {
    const before = readCursor(cursor, TaskId);
    const rows = scope.all
      ? await store.selectTasks(db, { ...filter, before, limit: limit + 1 })
      : [];
    return pageOf(rows, limit, { item: taskOf, position: (row) => row.id });
  });

  route(app, getTask, async ({ params }, { scope }) => {
    return taskOf(await readTask(db, scope, params.taskId));
  });

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

function taskOf(row: store.TaskRow) {
  return {
    ...row,
    kind: TaskKind.parse(row.kind),
    done: Number(row.done),
    total: row.total === null ? null : Number(row.total),
    createdAt: row.createdAt.toString(),
    startedAt: row.startedAt?.toString() ?? null,
    endedAt: row.endedAt?.toString() ?? null,
  };
}
