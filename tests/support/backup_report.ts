/** Devices that report backups, for tests of what is stored: real bytes, sealed and examined; no agent. */
import { type Kysely, sql } from "kysely";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import { normalisedSha256 } from "@rookery/shared/drivers/normalise.ts";
import { linesOf } from "@rookery/shared/drivers/decode.ts";
import {
  type AgentId,
  type DeviceId,
  type JobId,
  type LeaseId,
  Sha256,
  type SiteId,
} from "@rookery/shared/ids.ts";
import type { BackupConfigOutcome, CaptureOutcome } from "@rookery/shared/jobs/backup_config.ts";
import { putBlob } from "../../control-plane/backups/blob_store.ts";
import {
  examineBackup,
  type ExaminedCapture,
  type ReportedBackup,
} from "../../control-plane/backups/ingest.ts";
import {
  type BackupAttempt,
  recordBackup,
  recordFailedBackup,
} from "../../control-plane/backups/record_backup.ts";
import type { Texts } from "../../control-plane/backups/texts.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import type { Database } from "../../control-plane/database/schema.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import type { KeyRing } from "../../control-plane/keys/key_ring.ts";

/** A device of the platform frr at a site. */
export interface ReportingDevice {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
}

/** Where reports go. */
export interface ReportsTo {
  readonly db: Kysely<Database>;
  readonly keyRing: KeyRing;
  readonly texts: Texts;
}

/** Makes a site, or uses the given one, and a device at it. */
export async function makeReportingDevice(
  db: Kysely<Database>,
  options: { readonly siteId?: SiteId; readonly shrinkPercent?: number } = {},
): Promise<ReportingDevice> {
  const siteId = options.siteId ?? newId<SiteId>();
  const deviceId = newId<DeviceId>();
  await sql`
    insert into sites (id, tenant_id, name, shrink_percent)
    select ${siteId}, id, ${`site-${siteId}`}, ${options.shrinkPercent ?? 50} from tenants limit 1
    on conflict (id) do nothing`.execute(db);
  await db.insertInto("devices")
    .values({ id: deviceId, siteId, name: deviceId, host: `${deviceId}.test`, platform: "frr" })
    .execute();
  return { siteId, deviceId };
}

/** A complete FRR configuration with one secret and so many interfaces. */
export function frrConfiguration(
  options: { readonly password?: string; readonly interfaces?: number; readonly time?: string } =
    {},
): string {
  const interfaces = Array.from(
    { length: options.interfaces ?? 10 },
    (_, n) => `interface eth${n}\n description uplink ${n}\nexit\n!`,
  );
  return [
    "Building configuration...",
    "",
    "Current configuration:",
    "!",
    `! Last Changed: ${options.time ?? "2026-01-01 00:00:00"}`,
    "frr version 10.2",
    "frr defaults traditional",
    `password ${options.password ?? "first-password"}`,
    "!",
    ...interfaces,
    "end",
    "",
  ].join("\n");
}

export interface ReportOptions {
  /** Changes to what the agent says of its only capture. */
  readonly says?: Partial<CaptureOutcome>;
  /** Default true. */
  readonly upload?: boolean;
  readonly attempt?: Partial<BackupAttempt>;
}

/** Reports this text as the device's running configuration, and gives what became of it. */
export async function report(
  to: ReportsTo,
  device: ReportingDevice,
  text: string | Uint8Array<ArrayBuffer>,
  options: ReportOptions = {},
) {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const reported = await upload(to, device, bytes, options);
  const attempt = attemptOf(reported, options.attempt);
  const examined = await examineBackup(to.db, reported);
  if (!examined.ok) {
    const { failure } = examined;
    await inTransaction(to.db, (tx) => recordFailedBackup(tx, { attempt, failure }));
    return { ok: false as const, failure };
  }
  const recorded = await inTransaction(
    to.db,
    (tx) => recordBackup(tx, { ...to, attempt, examined }),
  );
  return { ok: true as const, ...recorded };
}

/**
 * Reports a text for each of these captures, all in one backup. No driver that ships has a second capture, so the others
 * are recorded beside the first as they would be.
 */
export async function reportCaptures(
  to: ReportsTo,
  device: ReportingDevice,
  texts: Readonly<Record<string, string>>,
) {
  const captures: ExaminedCapture[] = [];
  let reported: ReportedBackup | undefined;
  for (const [name, text] of Object.entries(texts)) {
    reported = await upload(to, device, new TextEncoder().encode(text));
    const one = await examineBackup(to.db, reported);
    if (!one.ok || !one.captures[0]) throw new Error(`Cannot report ${name}: it is not complete`);
    const { text: _foreseen, ...capture } = one.captures[0];
    captures.push({ ...capture, name });
  }
  if (!reported) throw new Error("Cannot report a backup without captures");
  const attempt = attemptOf(reported);
  const examined = { ok: true, platform: "frr", captures, outcome: reported.outcome } as const;
  return await inTransaction(to.db, (tx) => recordBackup(tx, { ...to, attempt, examined }));
}

/** Uploads these bytes under a lease of a new job, as an agent does before it reports them. */
export async function upload(
  { db, keyRing, texts }: ReportsTo,
  { siteId, deviceId }: ReportingDevice,
  bytes: Uint8Array<ArrayBuffer>,
  options: ReportOptions = {},
): Promise<ReportedBackup> {
  const jobId = newId<JobId>();
  const leaseId = newId<LeaseId>();
  await db.insertInto("jobs").values({
    ...{ siteId, id: jobId, deviceId, kind: "backup_config" },
    payload: { captures: [] },
    dueAt: Temporal.Now.instant(),
  }).execute();
  if (options.upload ?? true) {
    await putBlob(db, { keyRing, siteId, leaseId, bytes, sha256: await sha256(bytes) });
  }
  const outcome = await outcomeOf(bytes, options.says);
  return { keyRing, texts, siteId, deviceId, jobId, leaseId, outcome };
}

/** The attempt that brought a report. */
export function attemptOf(
  { siteId, deviceId, jobId }: ReportedBackup,
  told: Partial<BackupAttempt> = {},
): BackupAttempt {
  const attempt = { siteId, deviceId, jobId, epoch: 1, agentId: newId<AgentId>() };
  return { ...attempt, durationMs: 12, late: false, ...told };
}

/** What an agent reports that read these bytes of a device of the platform frr. */
export async function outcomeOf(
  bytes: Uint8Array<ArrayBuffer>,
  says: Partial<CaptureOutcome> = {},
): Promise<BackupConfigOutcome> {
  const driver = findDriver("frr");
  const [capture] = driver?.captures ?? [];
  if (!driver || !capture) throw new Error("Cannot report a backup: there is no driver frr");
  const hostKey = { type: "ssh-ed25519", fingerprint: `SHA256:${"a".repeat(43)}` };
  return {
    captures: [{
      name: "running",
      grade: "marker",
      rawSha256: await sha256(bytes),
      normalisedSha256: Sha256.parse(await normalisedSha256(bytes, { driver, capture })),
      bytes: bytes.length,
      lines: linesOf(new TextDecoder().decode(bytes)).length,
      unchanged: false,
      confirmedShrunk: false,
      ...says,
    }],
    facts: { osVersion: "10.2" },
    hostKey,
    algorithms: { kex: "k", cipher: "c", mac: "m", hostKey: "h" },
  };
}
