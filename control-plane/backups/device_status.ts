import { sql, type Transaction } from "kysely";
import type { Grade } from "@rookery/shared/drivers/driver.ts";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import type { BackupConfigOutcome } from "@rookery/shared/jobs/backup_config.ts";
import type { Failure } from "@rookery/shared/jobs/failure.ts";
import type { Database } from "../database/schema.ts";
import { applyTagRules } from "../devices/tag_rule_store.ts";
import { driverOf } from "./text_work.ts";

/** Whose status. */
export interface StatusOf {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
}

/**
 * Locks the device's status, which each device has: two results of one device, or a result and a decision about
 * its quarantine, come one after the other. Last in the lock order (… open_jobs, done, device_status).
 * Gives the time by the database's clock, read while the lock is held, so that times of one device rise.
 */
export async function lockDeviceStatus(
  tx: Transaction<Database>,
  { deviceId }: Pick<StatusOf, "deviceId">,
): Promise<Temporal.Instant> {
  // The clock is read above the lock in the plan, and so behind it.
  const { rows: [row] } = await sql<{ at: Temporal.Instant }>`
    with locked as materialized (
      select from device_status where device_id = ${deviceId} for update
    )
    select clock_timestamp() as at from locked`.execute(tx);
  if (!row) throw new Error("Cannot lock the status of a device: there is no such device");
  return row.at;
}

/** A backup that was stored, as far as it concerns the status. */
export interface StoredStatus extends StatusOf {
  readonly at: Temporal.Instant;
  readonly status: "verified" | "quarantined";
  readonly grade: Grade;
  readonly platform: string;
  /** The running configuration differs from the one the device would start with; null when it shows only one. */
  readonly unsaved: boolean | null;
  readonly outcome: BackupConfigOutcome;
}

/**
 * Writes a stored backup into the status. A quarantined one does not count as verified: its age goes on growing. A late
 * report about an earlier time does not hide what is known of a later one. The status names the current revision of the
 * platform's first capture, whichever attempt brought it.
 */
export async function writeStoredStatus(
  tx: Transaction<Database>,
  { deviceId, at, status, grade, unsaved, outcome, platform }: StoredStatus,
): Promise<void> {
  const first = driverOf(platform).captures[0]?.name ?? "";
  const { facts, algorithms } = outcome;
  // One row version instead of three.
  const { rows } = await sql<{ known: string }>`
    with said as (
      select ${at}::timestamptz as at, ${status}::text as status, ${grade}::text as grade,
        ${unsaved}::boolean as unsaved, ${JSON.stringify(facts)}::text::jsonb as facts,
        ${JSON.stringify(algorithms)}::text::jsonb as algorithms
    ), told as (
      select s.device_id, said.*, s.last_attempt_at is null or s.last_attempt_at <= said.at as newer
      from device_status s, said where s.device_id = ${deviceId}
    ), learnt as (${learnFacts})
    , noted as (
    update device_status s set
      last_verified_at = case when t.status = 'verified'
        then greatest(s.last_verified_at, t.at) else s.last_verified_at end,
      last_attempt_at = case when newer then t.at else s.last_attempt_at end,
      last_outcome = case when newer then t.status else s.last_outcome end,
      failure_code = case when newer then null else s.failure_code end,
      failure_detail = case when newer then null else s.failure_detail end,
      failing_since = case when newer then null else s.failing_since end,
      failure_streak = case when newer then 0 else s.failure_streak end,
      grade = case when newer then t.grade else s.grade end,
      unsaved = case when newer then t.unsaved else s.unsaved end,
      facts = case when newer then t.facts else s.facts end,
      algorithms = case when newer then t.algorithms else s.algorithms end,
      revision_id = coalesce((select c.revision_id from current_texts c
        where c.device_id = s.device_id and c.capture = ${first}), s.revision_id)
    from told t where s.device_id = t.device_id)
    select device_id as known from learnt`.execute(tx);
  if (rows.length > 0) await applyTagRules(tx, { deviceIds: [deviceId] });
}

/** Of a CTE `told`: keeps what is new. What the device did not say this time stays known. */
const learnFacts = sql`
  insert into device_facts as f (device_id, model, serial_number, os_version)
  select device_id, facts ->> 'model', facts ->> 'serialNumber', facts ->> 'osVersion' from told
  where newer and facts ?| '{model,serialNumber,osVersion}'
  on conflict (device_id) do update set model = coalesce(excluded.model, f.model),
    serial_number = coalesce(excluded.serial_number, f.serial_number),
    os_version = coalesce(excluded.os_version, f.os_version)
  where (f.model, f.serial_number, f.os_version) is distinct from
    (coalesce(excluded.model, f.model), coalesce(excluded.serial_number, f.serial_number),
      coalesce(excluded.os_version, f.os_version))
  returning device_id`;

/** The status names the current revision of the platform's first capture, whichever attempt brought it. */
async function nameCurrentRevision(
  tx: Transaction<Database>,
  { deviceId, platform }: { readonly deviceId: DeviceId; readonly platform: string },
): Promise<void> {
  const first = driverOf(platform).captures[0]?.name ?? "";
  await sql`
    update device_status s set revision_id = t.revision_id from current_texts t
    where s.device_id = ${deviceId} and t.device_id = s.device_id and t.capture = ${first}`
    .execute(tx);
}

/** Writes a failed attempt into the status; what is known of the device stays. */
export async function writeFailedStatus(
  tx: Transaction<Database>,
  { deviceId, at, failure }: StatusOf & {
    readonly at: Temporal.Instant;
    readonly failure: Failure;
  },
): Promise<void> {
  await updateIfNewer(tx, { deviceId, at })
    .set((column) => ({
      lastAttemptAt: at,
      lastOutcome: "failed",
      failureCode: failure.code,
      failureDetail: failure.detail,
      failingSince: column.fn.coalesce("failingSince", sql<Temporal.Instant>`${at}::timestamptz`),
      failureStreak: column("failureStreak", "+", 1),
    }))
    .execute();
}

/** A late report about an earlier time does not hide what is known of a later one. */
function updateIfNewer(
  tx: Transaction<Database>,
  { deviceId, at }: { readonly deviceId: DeviceId; readonly at: Temporal.Instant },
) {
  return tx.updateTable("deviceStatus").where("deviceId", "=", deviceId)
    .where((column) =>
      column.or([
        column("lastAttemptAt", "is", null),
        column("lastAttemptAt", "<=", at),
      ])
    );
}

/**
 * After a quarantined revision was accepted and became current: that reading counts as verified, unless it brought
 * another capture that still waits or was rejected. An attempt that came later keeps its outcome.
 */
export async function verifyAccepted(
  tx: Transaction<Database>,
  { deviceId, platform, at }: {
    readonly deviceId: DeviceId;
    readonly platform: string;
    /** When the accepted revision was last seen. */
    readonly at: Temporal.Instant;
  },
): Promise<void> {
  await sql`
    with reading as (
      select not exists (select from revisions where device_id = ${deviceId}
        and state <> 'accepted' and last_seen_at = ${at}::timestamptz) as verified)
    update device_status set
      last_verified_at = case when verified
        then greatest(last_verified_at, ${at}::timestamptz) else last_verified_at end,
      last_outcome = case when verified
        and last_outcome = 'quarantined' and last_attempt_at = ${at}::timestamptz
        then 'verified' else last_outcome end
    from reading where device_id = ${deviceId}`.execute(tx);
  await nameCurrentRevision(tx, { deviceId, platform });
}
