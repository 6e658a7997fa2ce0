import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { TaskKind, TaskState } from "@rookery/shared/api/tasks.ts";
import type { TaskId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { Database, TasksTable } from "../database/schema.ts";

export type TaskRow = Selectable<TasksTable>;

/** Orders long work; a replica takes it within seconds. */
export async function insertTask(
  db: Kysely<Database>,
  { kind, requestedBy }: { readonly kind: TaskKind; readonly requestedBy: string },
): Promise<TaskId> {
  const id = newId<TaskId>();
  await db.insertInto("tasks").values({ id, kind, requestedBy }).execute();
  return id;
}

export interface TaskSelection {
  readonly limit: number;
  readonly before?: TaskId | undefined;
  readonly taskId?: TaskId;
  readonly state?: TaskState | undefined;
  readonly kind?: TaskKind | undefined;
}

/** Newest first. */
export function selectTasks(db: Kysely<Database>, selection: TaskSelection) {
  const { before, taskId, state, kind, limit } = selection;
  return db.selectFrom("tasks").selectAll()
    .$if(before !== undefined, (query) => query.where("id", "<", before as TaskId))
    .$if(taskId !== undefined, (query) => query.where("id", "=", taskId as TaskId))
    .$if(state !== undefined, (query) => query.where("state", "=", state as TaskState))
    .$if(kind !== undefined, (query) => query.where("kind", "=", kind as TaskKind))
    .orderBy("id", "desc").limit(limit).execute();
}

/** Ends an open task. Raising the fence stops whoever runs it: the batch in hand is the last, and is kept. */
export async function cancelOpen(tx: Transaction<Database>, taskId: TaskId): Promise<boolean> {
  const { rows } = await sql`
    update tasks set state = 'cancelled', ended_at = now(), fence = fence + 1
    where id = ${taskId} and state in ('waiting', 'running') returning id`.execute(tx);
  return rows.length > 0;
}
