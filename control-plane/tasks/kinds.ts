import type { Kysely, Transaction } from "kysely";
import type { TaskKind } from "@rookery/shared/api/tasks.ts";
import type { Database } from "../database/schema.ts";
import { verifyAudit } from "../audit/verify_task.ts";
import { applyRetention } from "../backups/apply_retention.ts";
import { checkConfigurations } from "../backups/check_configurations.ts";
import { applyImport } from "../inventory/apply_import.ts";
import { undoImport } from "../inventory/undo_import.ts";
import { rewrapKeys } from "../keys/rewrap_keys.ts";
import type { KeyRing } from "../keys/key_ring.ts";

/** What tasks may use. */
export interface TaskContext {
  readonly keyRing: KeyRing;
}

/** How a batch ended: there is more, or all is done, or all is done but for what no later try would mend. */
export type Batch =
  | {
    readonly state: "more";
    readonly cursor: unknown;
    readonly done: number;
    /** What people are to know of it, for the task's log. */
    readonly found?: readonly string[];
  }
  | { readonly state: "completed"; readonly done: number; readonly found?: readonly string[] }
  | {
    readonly state: "failed";
    readonly done: number;
    readonly error: string;
    readonly found?: readonly string[];
  };

/** How a kind of task is done: in batches of at most a second, each in one transaction with the note of its progress. */
export interface TaskWork {
  /** About how much there is, for people. */
  readonly count: (
    db: Kysely<Database>,
    context: TaskContext,
    options: { readonly cursor: unknown },
  ) => Promise<number>;
  readonly runBatch: (
    tx: Transaction<Database>,
    context: TaskContext,
    options: { readonly cursor: unknown },
  ) => Promise<Batch>;
}

export const TASK_KINDS = {
  rewrap_keys: rewrapKeys,
  check_configurations: checkConfigurations,
  apply_import: applyImport,
  undo_import: undoImport,
  apply_retention: applyRetention,
  verify_audit: verifyAudit,
} as const satisfies Record<TaskKind, TaskWork>;
