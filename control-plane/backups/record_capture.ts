import { sql, type Transaction } from "kysely";
import type { BackupId, RevisionId } from "@rookery/shared/ids.ts";
import { NORMALISER_VERSION } from "@rookery/shared/jobs/lease.ts";
import { hasShrunk } from "@rookery/shared/jobs/shrink.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import type { ExaminedCapture } from "./ingest.ts";
import type { BackupAttempt, RecordedCapture } from "./record_backup.ts";
import { redactionRules } from "./redaction_rules.ts";
import { renderText, type TextServices } from "./render_text.ts";
import { findCurrent, findDigest, type KnownRevision } from "./revision_queries.ts";

/** One capture of a backup, to be filed while the device's status is locked. */
export interface CaptureToRecord extends TextServices {
  readonly attempt: BackupAttempt;
  readonly backupId: BackupId;
  readonly at: Temporal.Instant;
  readonly platform: string;
  readonly capture: ExaminedCapture;
}

/**
 * Files one capture: the current revision again (seen longer), a new one, or one in quarantine because it lost
 * more than the site's threshold against the current one, or was rejected, whatever came since. A text that comes back after others is a new revision
 * of the same blob, so that the history tells what happened.
 */
export async function recordCapture(
  tx: Transaction<Database>,
  record: CaptureToRecord,
): Promise<RecordedCapture> {
  const { capture, attempt: { deviceId } } = record;
  const of = { deviceId, capture: capture.name };
  const current = await findCurrent(tx, of);
  if (current && isSame(capture, current)) return await seeAgain(tx, record, current);
  const { normalisedSha256 } = capture;
  const known = await findDigest(tx, { ...of, normalisedSha256 });
  const past = isPast(record, current);
  if (past && known) return fileUnder(record, known);
  if (known?.state === "rejected" || await isSuspect(tx, record, { current, known })) {
    return await quarantine(tx, record, known);
  }
  const id = await acceptedId(tx, record, { current, known });
  if (!past) {
    const { platform } = record;
    await makeCurrent(tx, {
      ...of,
      ...record.attempt,
      platform,
      id,
      text: await textOf(tx, record),
    });
  }
  return { ...describe(record), kind: "new", revisionId: id };
}

/** Under which revision an accepted text stands: a superseded report may have filed the very first one already. */
async function acceptedId(
  tx: Transaction<Database>,
  record: CaptureToRecord,
  { current, known }: { current: KnownRevision | undefined; known: KnownRevision | undefined },
): Promise<RevisionId> {
  if (known?.state === "quarantined") return await release(tx, record, known.id);
  if (known && !current) return await touch(tx, record, known.id);
  return await insertRevision(tx, record, "accepted");
}

function isSame(capture: ExaminedCapture, current: KnownRevision): boolean {
  return capture.normalisedSha256 === current.normalisedSha256 || capture.sameAs === current.id;
}

/** What it tells is older than what is known, or must not count: it is filed and never becomes current. */
function isPast({ at, attempt }: CaptureToRecord, current: KnownRevision | undefined): boolean {
  return attempt.superseded === true ||
    current !== undefined && Temporal.Instant.compare(at, current.lastSeenAt) < 0;
}

/** It lost too much against the current one, and nobody has ever looked at it and accepted it. */
async function isSuspect(
  tx: Transaction<Database>,
  { capture: { bytes }, attempt: { siteId } }: CaptureToRecord,
  { current, known }: { current: KnownRevision | undefined; known: KnownRevision | undefined },
): Promise<boolean> {
  if (!current || wasAcceptedByPerson(known)) return false;
  const { shrinkPercent } = await tx.selectFrom("sites").select("shrinkPercent")
    .where("id", "=", siteId).executeTakeFirstOrThrow();
  return hasShrunk({ baselineBytes: current.bytes, bytes, shrinkPercent });
}

/** A text that somebody once looked at and accepted may come back without being asked about again. */
function wasAcceptedByPerson(known: KnownRevision | undefined): boolean {
  return known?.state === "accepted" && known.decidedAt !== null;
}

async function seeAgain(
  tx: Transaction<Database>,
  record: CaptureToRecord,
  current: KnownRevision,
): Promise<RecordedCapture> {
  if (!record.attempt.superseded) {
    await tx.updateTable("revisions")
      .set({
        lastSeenAt: sql`greatest(last_seen_at, ${record.at}::timestamptz)`,
        normalisedSha256: record.capture.normalisedSha256,
        normaliserVersion: NORMALISER_VERSION,
      })
      .where("id", "=", current.id).execute();
  }
  return fileUnder(record, current);
}

/** Nothing new: the attempt only points at what is there. */
function fileUnder(record: CaptureToRecord, { id, state }: KnownRevision): RecordedCapture {
  const kind = state === "accepted" ? "unchanged" : "quarantined";
  return { ...describe(record), kind, revisionId: id };
}

/** The same digest again is the same entry, also when it was rejected before. */
async function quarantine(
  tx: Transaction<Database>,
  record: CaptureToRecord,
  known: KnownRevision | undefined,
): Promise<RecordedCapture> {
  const again = known && known.state !== "accepted" ? known : undefined;
  const revisionId = again
    ? await touch(tx, record, again.id)
    : await insertRevision(tx, record, "quarantined");
  return { ...describe(record), kind: "quarantined", revisionId };
}

async function touch(tx: Transaction<Database>, { at }: CaptureToRecord, id: RevisionId) {
  await tx.updateTable("revisions")
    .set({ lastSeenAt: sql`greatest(last_seen_at, ${at}::timestamptz)` })
    .where("id", "=", id).execute();
  return id;
}

/** It waited in quarantine and is no shrunk one any more: the baseline or the threshold has changed. */
async function release(tx: Transaction<Database>, record: CaptureToRecord, id: RevisionId) {
  await tx.updateTable("revisions").set({ state: "accepted" }).where("id", "=", id).execute();
  return await touch(tx, record, id);
}

async function insertRevision(
  tx: Transaction<Database>,
  { attempt: { siteId, deviceId }, backupId, at, platform, capture }: CaptureToRecord,
  state: "accepted" | "quarantined",
): Promise<RevisionId> {
  const { name, rawSha256, normalisedSha256, grade, bytes, lines } = capture;
  const id = newId<RevisionId>();
  await tx.insertInto("revisions").values({
    id,
    ...{ siteId, deviceId, platform, state, rawSha256, normalisedSha256, grade, bytes, lines },
    capture: name,
    // Nobody else counts on: the device's status is locked.
    number: sql<number>`(select coalesce(max(number), 0) + 1 from revisions
      where device_id = ${deviceId} and capture = ${name})`,
    normaliserVersion: NORMALISER_VERSION,
    backupId,
    firstSeenAt: at,
    lastSeenAt: at,
  }).execute();
  return id;
}

/** Redacted before the transaction where that was foreseen, else here. */
async function textOf(tx: Transaction<Database>, record: CaptureToRecord): Promise<string> {
  const { capture: { name: capture, rawSha256, text }, attempt: { siteId, deviceId } } = record;
  return text ?? await renderText(tx, { ...record, siteId, deviceId, capture, rawSha256 });
}

/** Makes a revision the one that is shown, searched and compared with. */
export async function makeCurrent(
  tx: Transaction<Database>,
  { siteId, deviceId, capture, platform, id, text }: {
    readonly siteId: BackupAttempt["siteId"];
    readonly deviceId: BackupAttempt["deviceId"];
    readonly capture: string;
    readonly platform: string;
    readonly id: RevisionId;
    readonly text: string;
  },
): Promise<void> {
  const redactedBy = redactionRules(platform);
  const current = { siteId, revisionId: id, text, redactedBy, searchable: false };
  await tx.insertInto("currentTexts").values({ deviceId, capture, ...current })
    .onConflict((conflict) => conflict.columns(["deviceId", "capture"]).doUpdateSet(current))
    .execute();
}

function describe(
  { capture: { name, grade, bytes, lines, normalisedSha256 } }: CaptureToRecord,
): Omit<RecordedCapture, "kind" | "revisionId"> {
  return { name, grade, bytes, lines, normalisedSha256 };
}
