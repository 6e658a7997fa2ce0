import { type Kysely, type RawBuilder, sql, type Transaction } from "kysely";
import type { TaskId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";

/** Notes what became of the tasks in `changed`, a part of the same statement. */
export function logTask(event: string): RawBuilder<unknown> {
  return sql`
    insert into task_log (task_id, at, event, detail)
    select id, clock_timestamp(), ${event}, concat_ws(': ', state, error) from changed`;
}

/** Notes what a batch found, a line for each. */
export async function noteFound(
  tx: Transaction<Database>,
  taskId: TaskId,
  found: readonly string[],
): Promise<void> {
  if (found.length === 0) return;
  await tx.insertInto("taskLog")
    .values(found.map((detail) => ({ taskId, event: "found", detail }))).execute();
}

export interface TaskLogPlace {
  readonly at: string;
  readonly id: string;
}

/** The lines of a task's log after a place, oldest first. */
export async function selectTaskLog(
  db: Kysely<Database>,
  { taskId, after, limit }: {
    readonly taskId: TaskId;
    readonly after: TaskLogPlace | undefined;
    readonly limit: number;
  },
) {
  return await db.selectFrom("taskLog").select(["id", "at", "event", "detail"])
    .where("taskId", "=", taskId)
    .$if(
      after !== undefined,
      (query) =>
        query.where(sql<boolean>`(at, id) > (${after?.at}::timestamptz, ${after?.id}::uuid)`),
    )
    .orderBy("at").orderBy("id").limit(limit).execute();
}
