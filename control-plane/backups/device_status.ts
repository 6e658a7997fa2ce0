import { sql, type Transaction } from "kysely";
import type { Grade } from "@rookery/shared/drivers/driver.ts";
import type { DeviceId, RevisionId, SiteId } from "@rookery/shared/ids.ts";
import type { BackupConfigOutcome } from "@rookery/shared/jobs/backup_config.ts";
import type { Failure } from "@rookery/shared/jobs/failure.ts";
import type { Database } from "../database/schema.ts";

/** Whose status. */
export interface StatusOf {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
}

/**
 * Locks the device's status, making it if needed: two results of one device, or a result and a decision about
 * its quarantine, come one after the other. Last in the lock order (… open_jobs, done, device_status).
 * Gives the time by the database's clock, read while the lock is held, so that times of one device rise.
 */
export async function lockDeviceStatus(
  tx: Transaction<Database>,
  { siteId, deviceId }: StatusOf,
): Promise<Temporal.Instant> {
  await tx.insertInto("deviceStatus").values({ siteId, deviceId })
    .onConflict((conflict) => conflict.column("deviceId").doNothing()).execute();
  await tx.selectFrom("deviceStatus").select("deviceId").where("deviceId", "=", deviceId)
    .forUpdate().execute();
  const { rows: [clock] } = await sql<{ at: Temporal.Instant }>`select clock_timestamp() as at`
    .execute(tx);
  if (!clock) throw new Error("Cannot read the database's clock");
  return clock.at;
}

/** A backup that was stored, as far as it concerns the status. */
export interface StoredStatus extends StatusOf {
  readonly at: Temporal.Instant;
  readonly status: "verified" | "quarantined";
  readonly grade: Grade;
  /** Of the device's first capture; null while that one is quarantined. */
  readonly revisionId: RevisionId | null;
  /** The running configuration differs from the one the device would start with; null when it shows only one. */
  readonly unsaved: boolean | null;
  readonly outcome: BackupConfigOutcome;
}

/** Writes a stored backup into the status. A quarantined one does not count as verified: its age goes on growing. */
export async function writeStoredStatus(
  tx: Transaction<Database>,
  stored: StoredStatus,
): Promise<void> {
  const { deviceId, at, status, outcome } = stored;
  if (status === "verified") {
    await sql`
      update device_status set last_verified_at = greatest(last_verified_at, ${at}::timestamptz)
      where device_id = ${deviceId}`.execute(tx);
  }
  await updateIfNewer(tx, { deviceId, at })
    .set({
      lastAttemptAt: at,
      lastOutcome: status,
      failureCode: null,
      failureDetail: null,
      failingSince: null,
      failureStreak: 0,
      grade: stored.grade,
      ...stored.revisionId === null ? {} : { revisionId: stored.revisionId },
      unsaved: stored.unsaved,
      facts: outcome.facts,
      algorithms: outcome.algorithms,
    })
    .execute();
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
 * After a quarantined revision was accepted: the attempt that brought it counts as verified, unless it brought
 * another one that still waits or was rejected.
 */
export async function verifyQuarantined(
  tx: Transaction<Database>,
  { deviceId, at }: { readonly deviceId: DeviceId; readonly at: Temporal.Instant },
): Promise<void> {
  await sql`
    update device_status s set last_outcome = 'verified',
      last_verified_at = greatest(s.last_verified_at, ${at}::timestamptz),
      revision_id = coalesce((
        select t.revision_id from backups b
        join current_texts t on t.device_id = b.device_id and t.capture = b.captures->0->>'name'
        where b.site_id = s.site_id and b.device_id = s.device_id and b.status = 'quarantined'
        order by b.id desc limit 1), s.revision_id)
    where s.device_id = ${deviceId} and s.last_outcome = 'quarantined'
      and s.last_attempt_at = ${at}::timestamptz
      and not exists (select from revisions r where r.device_id = s.device_id
        and r.state <> 'accepted' and r.last_seen_at = s.last_attempt_at)`.execute(tx);
}
