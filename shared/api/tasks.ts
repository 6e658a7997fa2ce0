import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant, TaskId } from "../ids.ts";
import { listOf, Page } from "./page.ts";

/** `rewrap_keys`: wraps every data key anew by the current key-encryption key. */
export const TaskKind = z.enum(["rewrap_keys"]).meta({ id: "TaskKind" });
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
  /** What went wrong last; the task goes on unless its state is `failed`. */
  error: z.string().nullable(),
  requestedBy: z.string(),
  createdAt: Instant,
  startedAt: Instant.nullable(),
  endedAt: Instant.nullable(),
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
    state: TaskState.optional(),
    kind: TaskKind.optional(),
  }),
  reply: listOf(Task),
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
