/**
 * How a reported backup becomes stored truth, in two steps:
 *
 * 1. `examineBackup(db, …)` before the transaction: all that is slow. It reads the bytes that arrived, recomputes
 *    every number of the report, judges completeness by the driver's contract and redacts. It believes nothing the
 *    agent computed. Its answer decides the verdict on the attempt: `{ ok: false, failure }` is a failed one.
 * 2. `recordBackup(tx, …)` in the transaction that accepts the result (see record_backup.ts), or
 *    `recordFailedBackup(tx, …)` when the attempt failed.
 */
import type { Kysely } from "kysely";
import type { Driver, Grade } from "@rookery/shared/drivers/driver.ts";
import { capturesOf, findDriver } from "@rookery/shared/drivers/mod.ts";
import type { DeviceId, JobId, LeaseId, RevisionId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import {
  type BackupConfigOutcome,
  BackupConfigPayload,
  type CaptureOutcome,
} from "@rookery/shared/jobs/backup_config.ts";
import type { Failure, FailureCode } from "@rookery/shared/jobs/failure.ts";
import type { Database } from "../database/schema.ts";
import { deviceHasDigest, leaseHasDigest, readBlob } from "./blob_store.ts";
import { findAcceptedDigest, findCurrent } from "./revision_queries.ts";
import { readExact, redactBytes, type TextServices } from "./render_text.ts";
import { TextTooSlowError } from "./text_thread.ts";
import type { CapturedText } from "./text_work.ts";

/** Which report, under which lease. */
export interface ReportedBackup extends TextServices {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly jobId: JobId;
  readonly leaseId: LeaseId;
  readonly outcome: BackupConfigOutcome;
}

/** A capture whose every number was computed here, from the stored bytes. */
export interface ExaminedCapture {
  readonly name: string;
  readonly grade: Grade;
  readonly rawSha256: Sha256;
  readonly normalisedSha256: Sha256;
  readonly bytes: number;
  readonly lines: number;
  /** Redacted; absent when the capture looked unchanged, so that nobody needed it. */
  readonly text?: string;
  /** The current revision has this very text by today's rules; only its stored digest is of older rules. */
  readonly sameAs?: RevisionId;
}

/** What a report is worth: captures to record, or the failure that it is. */
export type Examination =
  | {
    readonly ok: true;
    readonly platform: string;
    readonly captures: readonly ExaminedCapture[];
    readonly outcome: BackupConfigOutcome;
  }
  | { readonly ok: false; readonly failure: Failure };

/** Checks a report against the bytes that arrived. A damaged blob throws a SealError; that is no device's fault. */
export async function examineBackup(
  db: Kysely<Database>,
  reported: ReportedBackup,
): Promise<Examination> {
  const { platform, payload, maxBytes } = await readOrder(db, reported);
  const driver = findDriver(platform);
  if (!driver) return refuse("platform_unsupported", `There is no driver of ${platform}.`);
  const missing = whyIncomplete(driver, reported.outcome, payload);
  if (missing !== undefined) return refuse("result_invalid", missing);
  const large = reported.outcome.captures.find(({ bytes }) => bytes > maxBytes);
  if (large) {
    const detail = `Capture ${large.name} has ${large.bytes} bytes, the limit is ${maxBytes}.`;
    return refuse("configuration_too_large", detail);
  }
  const captures: ExaminedCapture[] = [];
  for (const capture of reported.outcome.captures) {
    const examined = await examineInTime(db, { ...reported, platform, capture });
    if ("code" in examined) return { ok: false, failure: examined };
    captures.push(examined);
  }
  return { ok: true, platform, captures, outcome: reported.outcome };
}

function refuse(code: FailureCode, detail: string): Extract<Examination, { ok: false }> {
  return { ok: false, failure: { code, detail } };
}

async function readOrder(db: Kysely<Database>, { siteId, jobId, deviceId }: ReportedBackup) {
  const row = await db.selectFrom("devices").innerJoin("jobs", "jobs.deviceId", "devices.id")
    .select(["devices.platform", "devices.maxBytes", "jobs.payload"])
    .where("devices.id", "=", deviceId).where("jobs.siteId", "=", siteId)
    .where("jobs.id", "=", jobId).executeTakeFirstOrThrow();
  return { ...row, payload: BackupConfigPayload.parse(row.payload) };
}

/** Every capture that was asked for, once, and no other. */
function whyIncomplete(
  driver: Driver,
  { captures }: BackupConfigOutcome,
  payload: BackupConfigPayload,
): string | undefined {
  const wanted = capturesOf(driver, payload.captures).map(({ name }) => name).sort();
  const got = captures.map(({ name }) => name).sort();
  return wanted.join() === got.join()
    ? undefined
    : `It has the captures "${got.join()}" and not "${wanted.join()}".`;
}

interface CaptureExam extends ReportedBackup {
  readonly platform: string;
  readonly capture: CaptureOutcome;
}

/** A text that is made to be slow to read is no better than one that is too large. */
async function examineInTime(
  db: Kysely<Database>,
  exam: CaptureExam,
): Promise<ExaminedCapture | Failure> {
  try {
    return await examineCapture(db, exam);
  } catch (error) {
    if (!(error instanceof TextTooSlowError)) throw error;
    const detail = `Capture ${exam.capture.name} takes too long to read: ${error.message}.`;
    return { code: "configuration_too_large", detail };
  }
}

async function examineCapture(
  db: Kysely<Database>,
  exam: CaptureExam,
): Promise<ExaminedCapture | Failure> {
  if (exam.capture.unchanged) return await examineUnchanged(db, exam);
  const bytes = await readReported(db, exam);
  if (!bytes) {
    return { code: "blob_missing", detail: `Of capture ${exam.capture.name}: no bytes arrived.` };
  }
  const measured = await measure(bytes, exam);
  if ("code" in measured) return measured;
  const current = await findCurrent(db, { ...exam, capture: measured.name });
  if (current?.normalisedSha256 === measured.normalisedSha256) return measured;
  if (current) {
    // The rules of change may be younger than the stored digest: what only they changed is no change.
    const before = await readExact(db, { keyRing: exam.keyRing, ...current });
    const digest = await exam.texts.run("digest", captured(before, exam));
    if (digest === measured.normalisedSha256) {
      return { ...measured, sameAs: current.id };
    }
  }
  const text = await redactBytes(bytes, { ...exam, capture: measured.name });
  return { ...measured, text };
}

/** Nothing was sent, so the digest must be one that this device is known to have had. */
async function examineUnchanged(
  db: Kysely<Database>,
  { deviceId, capture: { name, normalisedSha256 } }: CaptureExam,
): Promise<ExaminedCapture | Failure> {
  const known = await findAcceptedDigest(db, { deviceId, capture: name, normalisedSha256 });
  if (!known) {
    const detail = `Of capture ${name}: it is called unchanged, but no such revision is known.`;
    return { code: "blob_missing", detail };
  }
  const { grade, rawSha256, bytes, lines } = known;
  return { name, grade, rawSha256, normalisedSha256, bytes, lines };
}

/** A result may name what arrived under its own lease, or what a revision of its own device has. */
async function readReported(db: Kysely<Database>, exam: CaptureExam) {
  const { keyRing, siteId, deviceId, leaseId, capture: { rawSha256: sha256 } } = exam;
  const mayName = await leaseHasDigest(db, { leaseId, sha256 }) ||
    await deviceHasDigest(db, { deviceId, sha256 });
  return mayName ? await readBlob(db, { keyRing, siteId, sha256 }) : undefined;
}

async function measure(
  bytes: Uint8Array<ArrayBuffer>,
  exam: CaptureExam,
): Promise<ExaminedCapture | Failure> {
  const { capture: outcome } = exam;
  const { name, rawSha256 } = outcome;
  const judged = await exam.texts.run("measure", captured(bytes, exam));
  if (!judged.complete) {
    return { code: judged.code, detail: `Of capture ${name}: ${judged.detail}.` };
  }
  const { grade, lines, normalisedSha256 } = judged;
  const measured = { name, grade, rawSha256, normalisedSha256, bytes: bytes.length, lines };
  const wrong = (["grade", "normalisedSha256", "bytes", "lines"] as const)
    .filter((field) => measured[field] !== outcome[field]);
  if (wrong.length === 0) return measured;
  const detail = `Of capture ${name}: the bytes that arrived have another ${wrong.join(", ")}.`;
  return { code: "result_invalid", detail };
}

function captured(bytes: Uint8Array, { platform, capture }: CaptureExam): CapturedText {
  return { bytes, platform, capture: capture.name };
}
