import type { Transaction } from "kysely";
import { Grade } from "@rookery/shared/drivers/driver.ts";
import type {
  AgentId,
  BackupId,
  DeviceId,
  JobId,
  RevisionId,
  Sha256,
  SiteId,
} from "@rookery/shared/ids.ts";
import type { Failure } from "@rookery/shared/jobs/failure.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { lockDeviceStatus, writeFailedStatus, writeStoredStatus } from "./device_status.ts";
import type { Examination, ExaminedCapture } from "./ingest.ts";
import { recordCapture } from "./record_capture.ts";
import type { TextServices } from "./render_text.ts";

/** The attempt that a backup belongs to. */
export interface BackupAttempt {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly jobId: JobId;
  readonly epoch: number;
  readonly agentId: AgentId;
  readonly durationMs: number;
  /** The result came after its lease was lost. */
  readonly late: boolean;
  /**
   * When the device was read, by the database's clock; default now. Give it for a result that waited in a spool:
   * what it says is then filed under that time and does not replace what was seen later.
   */
  readonly capturedAt?: Temporal.Instant;
  /** A newer lease of the job exists: the content is filed by its digest, the device's status is left alone. */
  readonly superseded?: boolean;
}

/** What became of one capture. */
export interface RecordedCapture {
  readonly name: string;
  readonly kind: "new" | "unchanged" | "quarantined";
  readonly revisionId: RevisionId;
  readonly grade: Grade;
  readonly bytes: number;
  readonly lines: number;
  readonly normalisedSha256: Sha256;
}

/** A backup as it was stored. */
export interface RecordedBackup {
  readonly backupId: BackupId;
  readonly status: "verified" | "quarantined";
  readonly captures: readonly RecordedCapture[];
}

/** Stores an examined backup; part of the transaction that accepts the result. */
export async function recordBackup(
  tx: Transaction<Database>,
  { keyRing, texts, attempt, examined }: TextServices & {
    readonly attempt: BackupAttempt;
    readonly examined: Extract<Examination, { ok: true }>;
  },
): Promise<RecordedBackup> {
  const at = await timeOf(tx, attempt);
  const backupId = newId<BackupId>();
  const captures: RecordedCapture[] = [];
  for (const capture of examined.captures) {
    const context = { keyRing, texts, at, backupId, platform: examined.platform };
    captures.push(await recordCapture(tx, { ...context, attempt, capture }));
  }
  const status = captures.some(({ kind }) => kind === "quarantined") ? "quarantined" : "verified";
  const { facts, algorithms } = examined.outcome;
  await insertBackup(tx, { attempt, backupId, status, captures, facts, algorithms });
  if (!attempt.superseded) {
    const { siteId, deviceId } = attempt;
    const grade = weakestGrade(examined.captures);
    const known = { siteId, deviceId, at, status, grade, outcome: examined.outcome } as const;
    const unsaved = isUnsaved(examined.captures);
    await writeStoredStatus(tx, { ...known, unsaved, platform: examined.platform });
  }
  return { backupId, status, captures };
}

/** Stores that an attempt failed; part of the transaction that accepts the result. */
export async function recordFailedBackup(
  tx: Transaction<Database>,
  { attempt, failure }: { readonly attempt: BackupAttempt; readonly failure: Failure },
): Promise<{ readonly backupId: BackupId }> {
  const at = await timeOf(tx, attempt);
  const backupId = newId<BackupId>();
  await insertBackup(tx, { attempt, backupId, status: "failed", failure, captures: [] });
  if (!attempt.superseded) {
    const { siteId, deviceId } = attempt;
    await writeFailedStatus(tx, { siteId, deviceId, at, failure });
  }
  return { backupId };
}

async function timeOf(
  tx: Transaction<Database>,
  { capturedAt, ...device }: BackupAttempt,
): Promise<Temporal.Instant> {
  const now = await lockDeviceStatus(tx, device);
  return capturedAt && Temporal.Instant.compare(capturedAt, now) < 0 ? capturedAt : now;
}

interface BackupRow {
  readonly attempt: BackupAttempt;
  readonly backupId: BackupId;
  readonly status: "verified" | "quarantined" | "failed";
  readonly captures: readonly RecordedCapture[];
  readonly failure?: Failure;
  readonly facts?: unknown;
  readonly algorithms?: unknown;
}

async function insertBackup(tx: Transaction<Database>, row: BackupRow): Promise<void> {
  const { siteId, deviceId, jobId, epoch, agentId, durationMs, late } = row.attempt;
  await tx.insertInto("backups").values({
    id: row.backupId,
    ...{ siteId, deviceId, jobId, epoch, agentId, durationMs },
    late: late || row.attempt.superseded === true,
    status: row.status,
    failureCode: row.failure?.code ?? null,
    failureDetail: row.failure?.detail ?? null,
    captures: row.captures,
    facts: row.facts ?? {},
    algorithms: row.algorithms ?? null,
  }).execute();
}

/** The device is as well proven as the weakest of its captures. */
function weakestGrade(captures: readonly ExaminedCapture[]): Grade {
  const grades = captures.map(({ grade }) => grade);
  return Grade.options.findLast((grade) => grades.includes(grade)) ?? "prompt";
}

function isUnsaved(captures: readonly ExaminedCapture[]): boolean | null {
  const running = captures.find(({ name }) => name === "running");
  const startup = captures.find(({ name }) => name === "startup");
  return running && startup ? running.normalisedSha256 !== startup.normalisedSha256 : null;
}
