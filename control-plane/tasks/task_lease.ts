/** Who runs a task: the row's fence is the token, and every statement here names it, and tells what it changed. */
import { type Kysely, sql, type Transaction } from "kysely";
import type { Database } from "../database/schema.ts";
import { announceTasks } from "../outbox/announce.ts";
import { logTask } from "./task_log.ts";
import type { TaskRow } from "./store.ts";

/** Many times as long as a batch may take. */
const LEASE_SECONDS = 15;
const MOST_FAILURES = 20;
const LONGEST_PAUSE_SECONDS = 60;

/** A task in this process's hands. */
export type HeldTask = Pick<TaskRow, "id" | "kind" | "fence" | "cursor" | "total">;

/** Takes the oldest task that nobody runs; of several replicas one gets it. */
export async function takeTask(db: Kysely<Database>): Promise<HeldTask | undefined> {
  const { rows: [task] } = await sql<HeldTask>`
    with changed as (
      update tasks t set fence = t.fence + 1, state = 'running', leased_until = ${leaseEnd()},
        started_at = coalesce(t.started_at, now())
      from (
        select id, fence from tasks
        where state in ('waiting', 'running') and leased_until <= now()
        order by created_at, id limit 1
      ) oldest
      where t.id = oldest.id and t.fence = oldest.fence
        and t.state in ('waiting', 'running') and t.leased_until <= now()
      returning t.*
    ), told as (${announceTasks("started", changed)}), logged as (${logTask("started")})
    select id, kind, fence, cursor, total from changed`.execute(db);
  return task;
}

/** Locks the task for a batch; false when it was cancelled, or when another replica has it. */
export async function holdTask(tx: Transaction<Database>, task: HeldTask): Promise<boolean> {
  const { rows } = await sql`
    update tasks set leased_until = ${leaseEnd()}
    where id = ${task.id} and fence = ${task.fence} and state = 'running' returning id`
    .execute(tx);
  return rows.length > 0;
}

export async function noteTotal(
  db: Kysely<Database>,
  { id, fence }: HeldTask,
  total: number,
): Promise<void> {
  await sql`
    with changed as (
      update tasks set total = ${total} where id = ${id} and fence = ${fence} returning *
    )
    ${announceTasks("progress", changed)}`.execute(db);
}

/** Notes how far the batch came, in the batch's own transaction: neither is there without the other. */
export async function noteProgress(
  tx: Transaction<Database>,
  { id, fence }: HeldTask,
  batch: { readonly cursor: unknown; readonly done: number },
): Promise<void> {
  await sql`
    with changed as (
      update tasks set cursor = ${JSON.stringify(batch.cursor)}::text::jsonb,
        done = done + ${batch.done}, failures = 0, error = null
      where id = ${id} and fence = ${fence} returning *
    )
    ${announceTasks("progress", changed)}`.execute(tx);
}

/** Ends the task; with an error it has failed. */
export async function endTask(
  db: Kysely<Database>,
  { id, fence }: HeldTask,
  error: string | null,
): Promise<void> {
  await sql`
    with changed as (
      update tasks set state = ${error === null ? "completed" : "failed"}, error = ${error}::text,
        ended_at = now()
      where id = ${id} and fence = ${fence} and state = 'running' returning *
    ), logged as (${logTask("ended")})
    ${announceTasks("ended", changed)}`.execute(db);
}

/** Puts the task back after a failure that may pass; after too many in a row it has failed. */
export async function postponeTask(
  db: Kysely<Database>,
  { id, fence }: HeldTask,
  error: string,
): Promise<void> {
  await sql`
    with changed as (
      update tasks set failures = failures + 1, error = ${error},
        leased_until = now()
          + least(${LONGEST_PAUSE_SECONDS}, power(2, failures)) * interval '1 second',
        state = case when failures + 1 >= ${MOST_FAILURES} then 'failed' else 'waiting' end,
        ended_at = case when failures + 1 >= ${MOST_FAILURES} then now() end
      where id = ${id} and fence = ${fence} and state = 'running' returning *
    ), logged as (${logTask("interrupted")})
    ${announceTasks("interrupted", changed)}`.execute(db);
}

/** Gives the task back, for another replica to go on at once. */
export async function releaseTask(db: Kysely<Database>, { id, fence }: HeldTask): Promise<void> {
  await sql`
    with changed as (
      update tasks set state = 'waiting', leased_until = now()
      where id = ${id} and fence = ${fence} and state = 'running' returning *
    ), logged as (${logTask("released")})
    ${announceTasks("released", changed)}`.execute(db);
}

const changed = sql`select * from changed`;

function leaseEnd() {
  return sql`now() + ${LEASE_SECONDS} * interval '1 second'`;
}
