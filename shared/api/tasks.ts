import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant, TaskId } from "../ids.ts";
import { listOf, Page, someOf, text } from "./page.ts";

/**
 * `rewrap_keys`: wraps every data key anew by the current key-encryption key. `check_configurations`: opens every stored
 * configuration and holds it against its digest. `apply_import`, `undo_import`: makes and changes devices as an import says,
 * and takes that back. `apply_retention`: deletes old revisions, and contents that nothing refers to any more.
 * `verify_audit`: holds the audit log against its sealed segments.
 */
export const TaskKind = z.enum([
  "rewrap_keys",
  "check_configurations",
  "apply_import",
  "undo_import",
  "apply_retention",
  "verify_audit",
]).meta({ id: "TaskKind" });
export type TaskKind = z.infer<typeof TaskKind>;

export const TaskState = z.enum(["waiting", "running", "completed", "failed", "cancelled"])
  .meta({ id: "TaskState" });
export type TaskState = z.infer<typeof TaskState>;

/** Long work of the control plane itself; it goes on after a restart where it stopped. */
export const Task = z.object({
  id: TaskId,
  kind: TaskKind,
  state: TaskState,
  /** Of `total`, which was counted at the start and is null before. */
  done: z.int(),
  total: z.int().nullable(),
  /** Of `total`, from 0 to 100; null before it was counted. */
  percent: z.int().nullable(),
  /** What went wrong last; the task goes on unless its state is `failed`. */
  error: z.string().nullable(),
  requestedBy: z.string(),
  createdAt: Instant,
  startedAt: Instant.nullable(),
  endedAt: Instant.nullable(),
  /** From its start to its end, or to now. */
  durationMs: z.int().nullable(),
}).meta({ id: "Task" });
export type Task = z.infer<typeof Task>;

const TaskParams = z.strictObject({ taskId: TaskId });

export const listTasks = endpoint({
  method: "GET",
  path: "/api/v1/tasks",
  access: "tasks:read",
  summary: "List tasks of the control plane, newest first",
  query: z.strictObject({
    ...Page.shape,
    state: someOf(TaskState).optional()
      .describe("States of tasks, divided by commas"),
    kind: someOf(TaskKind).optional()
      .describe("Kinds of tasks, divided by commas"),
    requestedBy: text(200).meta({ example: "anna" }).optional()
      .describe("The name of who ordered them"),
    from: Instant.optional()
      .describe("Ordered from this time on"),
    until: Instant.optional()
      .describe("Ordered before this time"),
  }),
  reply: listOf(Task),
});

/** A change of a task, as a stream tells it. */
export const TaskChange = z.object({
  taskId: TaskId,
  change: z.enum(["created", "started", "progress", "interrupted", "released", "ended"]),
  at: Instant,
  kind: TaskKind,
  state: TaskState,
  done: z.int(),
  total: z.int().optional(),
  error: z.string().optional(),
}).meta({ id: "TaskChange" });
export type TaskChange = z.infer<typeof TaskChange>;

export const followTasks = endpoint({
  method: "GET",
  path: "/api/v1/tasks/events",
  access: "tasks:read",
  summary: "Follow what becomes of tasks (server-sent events)",
  description: "As with jobs: see GET /api/v1/jobs/events",
  query: z.strictObject({ taskId: TaskId.optional() }),
  reply: TaskChange,
  replyAs: "events",
});

export const taskStatistics = endpoint({
  method: "GET",
  path: "/api/v1/tasks/statistics",
  access: "tasks:read",
  summary: "Count tasks by state",
  query: z.strictObject({ from: Instant.optional(), until: Instant.optional() }),
  reply: z.object({
    total: z.int(),
    states: z.record(TaskState, z.int()),
    /** Of those that were completed or failed, from 0 to 1; null when there are none. */
    successRate: z.number().nullable(),
  }),
});

export const listTaskLog = endpoint({
  method: "GET",
  path: "/api/v1/tasks/:taskId/log",
  access: "tasks:read",
  summary: "Read what became of a task, oldest first",
  params: TaskParams,
  query: z.strictObject(Page.shape),
  reply: listOf(z.object({
    at: Instant,
    event: z.string(),
    detail: z.string().nullable(),
  })),
});

export const getTask = endpoint({
  method: "GET",
  path: "/api/v1/tasks/:taskId",
  access: "tasks:read",
  summary: "Read the progress of a task",
  params: TaskParams,
  reply: Task,
});

export const cancelTask = endpoint({
  method: "POST",
  path: "/api/v1/tasks/:taskId/cancellation",
  access: "tasks:write",
  summary: "Cancel a task; what it has done stays done",
  params: TaskParams,
  reply: Task,
});
