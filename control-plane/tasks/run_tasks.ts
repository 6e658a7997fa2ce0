import type { Kysely } from "kysely";
import { TaskKind } from "@rookery/shared/api/tasks.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { describeError, type Log } from "../http/log.ts";
import { pause } from "../pause.ts";
import { type Batch, TASK_KINDS, type TaskContext, type TaskWork } from "./kinds.ts";
import * as lease from "./task_lease.ts";
import { noteFound } from "./task_log.ts";

const POLL_MS = 2_000;

export interface TaskServices extends TaskContext {
  readonly db: Kysely<Database>;
  readonly log: Log;
}

export interface RunOptions {
  readonly signal: AbortSignal;
  /** How often to look for a task when there is none. Default 2,000. */
  readonly pollMs?: number;
}

/** Runs the tasks that nobody runs, one at a time, until `signal`. Every replica does. */
export async function runTasks(services: TaskServices, options: RunOptions): Promise<void> {
  const { db, log } = services;
  const { signal, pollMs = POLL_MS } = options;
  while (!signal.aborted) {
    try {
      const task = await lease.takeTask(db);
      if (task) await runTask(services, { task, signal });
      else await pause(pollMs, signal);
    } catch (error) {
      log({ level: "error", message: "Tasks cannot be run", ...describeError(error) });
      await pause(pollMs, signal);
    }
  }
}

interface Run {
  readonly task: lease.HeldTask;
  readonly signal: AbortSignal;
}

async function runTask(services: TaskServices, { task, signal }: Run): Promise<void> {
  const { db, log } = services;
  const about = { task: task.id, kind: task.kind };
  log({ level: "info", message: "Task taken", ...about });
  try {
    const ended = await runBatches(services, { task, signal });
    if (ended === "released") await lease.releaseTask(db, task);
    log({ level: "info", message: `Task ${ended}`, ...about });
  } catch (error) {
    log({ level: "error", message: "Task interrupted", ...about, ...describeError(error) });
    await lease.postponeTask(db, task, textOf(error));
  }
}

/** `lost`: cancelled, or another replica has taken it. */
async function runBatches(
  services: TaskServices,
  { task, signal }: Run,
): Promise<"completed" | "failed" | "lost" | "released"> {
  const { db } = services;
  const work: TaskWork = TASK_KINDS[TaskKind.parse(task.kind)];
  if (task.total === null) {
    await lease.noteTotal(db, task, await work.count(db, services, { cursor: task.cursor }));
  }
  for (let cursor = task.cursor; !signal.aborted;) {
    const batch = await runBatch(services, { task, work, cursor });
    if (batch?.state !== "more") return batch?.state ?? "lost";
    cursor = batch.cursor;
  }
  return "released";
}

async function runBatch(
  { db, keyRing }: TaskServices,
  { task, work, cursor }: { task: lease.HeldTask; work: TaskWork; cursor: unknown },
): Promise<Batch | undefined> {
  return await inTransaction(db, async (tx) => {
    if (!await lease.holdTask(tx, task)) return undefined;
    const batch = await work.runBatch(tx, { keyRing }, { cursor });
    const { done } = batch;
    await lease.noteProgress(tx, task, {
      cursor: batch.state === "more" ? batch.cursor : cursor,
      done,
    });
    await noteFound(tx, task.id, batch.found ?? []);
    if (batch.state !== "more") {
      await lease.endTask(tx, task, batch.state === "failed" ? batch.error : null);
    }
    return batch;
  });
}

/** What people may read of an error: what was foreseen says what to do, the rest stands in the log. */
function textOf(error: unknown): string {
  return error instanceof ProblemError || (error instanceof Error && /^Cannot /.test(error.message))
    ? error.message.slice(0, 500)
    : "An unforeseen error: see the control plane's log.";
}
