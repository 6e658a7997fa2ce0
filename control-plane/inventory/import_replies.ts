import {
  ImportAction,
  ImportedFields,
  ImportOutcome,
  type ImportState,
} from "@rookery/shared/api/imports.ts";
import type { TaskState } from "@rookery/shared/api/tasks.ts";
import type { FieldError } from "@rookery/shared/problem.ts";
import type { ImportListing, ImportRowRow } from "./import_store.ts";

/** An import as its callers see it. */
export function importOf(row: ImportListing) {
  const { applyTaskId, undoTaskId } = row;
  return {
    ...row,
    state: stateOf(row),
    createdAt: row.createdAt.toString(),
    taskId: undoTaskId ?? applyTaskId,
    actions: countsOf(ImportAction.options, row.actions),
    outcomes: countsOf(ImportOutcome.options, row.outcomes),
  };
}

export function stateOf(
  { applyTaskId, applyState, undoTaskId, undoState }: ImportListing,
): ImportState {
  if (undoTaskId !== null) return stateBy(undoState, { running: "undoing", completed: "undone" });
  if (applyTaskId === null) return "previewed";
  return stateBy(applyState, { running: "applying", completed: "applied" });
}

function stateBy(
  state: TaskState | null,
  words: { readonly running: ImportState; readonly completed: ImportState },
): ImportState {
  if (state === "waiting" || state === "running") return words.running;
  return state === "completed" ? words.completed : "stopped";
}

function countsOf<Name extends string>(
  names: readonly Name[],
  counts: Partial<Record<Name, number>> | null,
): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, counts?.[name] ?? 0])) as never;
}

/** A row as its callers see it; a device that is yet to be made has no id. */
export function importRowOf(row: ImportRowRow) {
  const isThere = row.action !== "create" || row.outcome === "applied" || row.outcome === "kept";
  return {
    ...row,
    row: row.number,
    deviceId: isThere ? row.deviceId : null,
    before: ImportedFields.parse(row.before),
    after: ImportedFields.parse(row.after),
    errors: row.errors as FieldError[],
  };
}
