import type { Kysely, Selectable, Transaction } from "kysely";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import type { Failure } from "@rookery/shared/jobs/failure.ts";
import { JobKind } from "@rookery/shared/jobs/mod.ts";
import type { BackupAttempt } from "../backups/record_backup.ts";
import type { TextServices } from "../backups/render_text.ts";
import type { LoginVerdict } from "../credentials/credential_state.ts";
import type { Database, GrantsTable } from "../database/schema.ts";
import type { Verdict } from "./accept.ts";
import { backupWork } from "./backup_work.ts";
import { commandsWork, detectWork, reachWork } from "./reading_work.ts";

/** A lease that was granted, with the kind of its job: what was granted says it, and never a report. */
export type Grant = Selectable<GrantsTable> & { readonly kind: string };

/** What a result is judged and settled with. */
export interface Settlement extends TextServices {
  readonly db: Kysely<Database>;
  readonly incarnation: number;
}

/** What a report turned out to be, before it is known whether it still counts. */
export interface Judged {
  readonly verdict: Verdict;
  /** What it says about the credential. */
  readonly login?: LoginVerdict | undefined;
  /** The host key behind which the login succeeded. */
  readonly hostKey?: HostKeySeen | undefined;
  /** Stores what was read, in the transaction that settles the attempt, or that finds it superseded. */
  readonly store?: (tx: Transaction<Database>, attempt: BackupAttempt) => Promise<unknown>;
}

/** What the control plane keeps of a kind of job beside the job itself. */
export interface KindWork {
  /** Judges the outcome of a completed attempt, whose form is that of its kind; all that is slow is done here. */
  readonly judge: (by: Settlement, grant: Grant, outcome: unknown) => Promise<Judged>;
  /** Writes a failed attempt down. */
  readonly noteFailure?: (
    tx: Transaction<Database>,
    failed: { readonly attempt: BackupAttempt; readonly failure: Failure },
  ) => Promise<unknown>;
  /** Writes down that a job ended without an attempt. */
  readonly noteUnrun?: (
    tx: Transaction<Database>,
    ended: { readonly siteId: SiteId; readonly deviceId: DeviceId; readonly failure: Failure },
  ) => Promise<unknown>;
}

const KIND_WORK = {
  backup_config: backupWork,
  check_reachability: reachWork,
  run_commands: commandsWork,
  detect_platform: detectWork,
} as const satisfies Record<JobKind, KindWork>;

/** By the name that stands in the database. */
export function workOf(kind: string): KindWork {
  return KIND_WORK[JobKind.parse(kind)];
}
