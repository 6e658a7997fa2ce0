/** Rows as the API shows them. */
import type { Selectable } from "kysely";
import { Backup, type DeviceStatus, type Revision } from "@rookery/shared/api/backups.ts";
import { Grade } from "@rookery/shared/drivers/driver.ts";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { DeviceFacts } from "@rookery/shared/jobs/backup_config.ts";
import { type FailureCode, failureSentence } from "@rookery/shared/jobs/failure.ts";
import type { BackupsTable, DeviceStatusTable } from "../database/schema.ts";
import type { RevisionRow } from "./store.ts";

export function revisionOf(row: RevisionRow): Revision {
  return {
    ...row,
    firstSeenAt: row.firstSeenAt.toString(),
    lastSeenAt: row.lastSeenAt.toString(),
    decidedAt: row.decidedAt?.toString() ?? null,
  };
}

export function backupOf(row: Selectable<BackupsTable>): Backup {
  return {
    ...row,
    captures: Backup.shape.captures.parse(row.captures),
    reason: reasonOf(row.failureCode),
    receivedAt: row.receivedAt.toString(),
  };
}

/** A device without an attempt has a status, too: nothing is known of it. */
export function statusOf(
  device: { readonly deviceId: DeviceId; readonly siteId: SiteId },
  row: Selectable<DeviceStatusTable> | undefined,
): DeviceStatus {
  return {
    ...device,
    lastAttemptAt: row?.lastAttemptAt?.toString() ?? null,
    lastOutcome: row?.lastOutcome ?? null,
    lastVerifiedAt: row?.lastVerifiedAt?.toString() ?? null,
    failureCode: row?.failureCode ?? null,
    failureDetail: row?.failureDetail ?? null,
    reason: reasonOf(row?.failureCode ?? null),
    failingSince: row?.failingSince?.toString() ?? null,
    failureStreak: row?.failureStreak ?? 0,
    grade: Grade.nullable().parse(row?.grade ?? null),
    revisionId: row?.revisionId ?? null,
    unsaved: row?.unsaved ?? null,
    facts: DeviceFacts.parse(row?.facts ?? {}),
  };
}

function reasonOf(code: FailureCode | null): string | null {
  return code && failureSentence(code);
}
