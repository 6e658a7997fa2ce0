import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { TaskKind, TaskState } from "@rookery/shared/api/tasks.ts";
import type { TaskId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { Database, TasksTable } from "../database/schema.ts";
import { announceTasks } from "../outbox/announce.ts";
import { logTask } from "./task_log.ts";

export type TaskRow = Selectable<TasksTable>;
export type ShownTask = TaskRow & { readonly durationMs: string | null };

/** Orders long work; a replica takes it within seconds. `cursor` is where it begins, which nobody is shown. */
export async function insertTask(
  db: Kysely<Database>,
  { kind, requestedBy, cursor = null }: {
    readonly kind: TaskKind;
    readonly requestedBy: string;
    readonly cursor?: unknown;
  },
): Promise<TaskId> {
  const id = newId<TaskId>();
  await sql`
    with changed as (
      insert into tasks (id, kind, requested_by, cursor)
      values (${id}, ${kind}, ${requestedBy}, nullif(${
    JSON.stringify(cursor)
  }::text::jsonb, 'null'))
      returning *
    ), logged as (${logTask("created")})
    ${announceTasks("created", sql`select * from changed`)}`.execute(db);
  return id;
}

export interface TaskSelection {
  readonly limit: number;
  readonly before?: TaskId | undefined;
  readonly taskId?: TaskId;
  readonly state?: readonly TaskState[] | undefined;
  readonly kind?: readonly TaskKind[] | undefined;
  readonly requestedBy?: string | undefined;
  readonly from?: string | undefined;
  readonly until?: string | undefined;
}

/** Newest first. */
export function selectTasks(db: Kysely<Database>, selection: TaskSelection) {
  const { before, taskId, state, kind, requestedBy, limit } = selection;
  return db.selectFrom("tasks").selectAll().select(durationMs.as("durationMs"))
    .where(within(selection))
    .$if(before !== undefined, (query) => query.where("id", "<", before as TaskId))
    .$if(taskId !== undefined, (query) => query.where("id", "=", taskId as TaskId))
    .$if(state !== undefined, (query) => query.where("state", "in", state ?? []))
    .$if(kind !== undefined, (query) => query.where("kind", "in", kind ?? []))
    .$if(requestedBy !== undefined, (query) => query.where("requestedBy", "=", requestedBy ?? ""))
    .orderBy("id", "desc").limit(limit).execute();
}

/** By the database's clock, which also set the two times. */
const durationMs = sql<string | null>`
  (extract(epoch from coalesce(ended_at, now()) - started_at) * 1000)::int8::text`;

function within({ from, until }: Pick<TaskSelection, "from" | "until">) {
  return sql<boolean>`created_at >= coalesce(${from ?? null}::timestamptz, '-infinity')
    and created_at < coalesce(${until ?? null}::timestamptz, 'infinity')`;
}

/** How many tasks there are in each state. Tasks are few. */
export async function countTasks(
  db: Kysely<Database>,
  times: Pick<TaskSelection, "from" | "until">,
): Promise<ReadonlyMap<TaskState, number>> {
  const rows = await db.selectFrom("tasks").select("state")
    .select(({ fn }) => fn.countAll<string>().as("count"))
    .where(within(times)).groupBy("state").execute();
  return new Map(rows.map(({ state, count }) => [state, Number(count)]));
}

/** Ends an open task. Raising the fence stops whoever runs it: the batch in hand is the last, and is kept. */
export async function cancelOpen(tx: Transaction<Database>, taskId: TaskId): Promise<boolean> {
  const { rows } = await sql`
    with changed as (
      update tasks set state = 'cancelled', ended_at = now(), fence = fence + 1
      where id = ${taskId} and state in ('waiting', 'running') returning *
    ), logged as (${logTask("ended")}), told as (
      ${announceTasks("ended", sql`select * from changed`)}
    )
    select id from changed`.execute(tx);
  return rows.length > 0;
}
