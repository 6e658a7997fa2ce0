import { TaskKind, type TaskState } from "@rookery/shared/api/tasks.ts";
import type { ShownTask } from "./store.ts";

/** A task as its callers see it. */
export function taskOf(row: ShownTask) {
  const done = Number(row.done);
  const total = row.total === null ? null : Number(row.total);
  return {
    ...row,
    kind: TaskKind.parse(row.kind),
    done,
    total,
    percent: percentOf(row.state, done, { total }),
    durationMs: row.durationMs === null ? null : Number(row.durationMs),
    createdAt: row.createdAt.toString(),
    startedAt: row.startedAt?.toString() ?? null,
    endedAt: row.endedAt?.toString() ?? null,
  };
}

/** `total` is an estimate: only a task that is completed has done all of it. */
function percentOf(state: TaskState, done: number, { total }: { total: number | null }) {
  if (state === "completed") return 100;
  if (total === null) return null;
  return total === 0 ? 0 : Math.min(99, Math.floor(100 * done / total));
}
