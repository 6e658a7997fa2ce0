import { BackupConfigOutcome } from "@rookery/shared/jobs/backup_config.ts";
import { lockDeviceStatus, writeFailedStatus } from "../backups/device_status.ts";
import { examineBackup } from "../backups/ingest.ts";
import { recordBackup, recordFailedBackup } from "../backups/record_backup.ts";
import type { KindWork } from "./kinds.ts";

/** A backup is stored as a success only when the control plane itself has proven it complete. */
export const backupWork: KindWork = {
  async judge(by, grant, reported) {
    const outcome = BackupConfigOutcome.parse(reported);
    const examined = await examineBackup(by.db, { ...by, ...grant, outcome });
    if (!examined.ok) return { verdict: { status: "failed", failure: examined.failure } };
    return {
      verdict: { status: "completed", report: outcome },
      login: { accepted: true },
      hostKey: outcome.hostKey,
      store: (tx, attempt) => recordBackup(tx, { ...by, attempt, examined }),
    };
  },

  noteFailure: (tx, failed) => recordFailedBackup(tx, failed),

  async noteUnrun(tx, { siteId, deviceId, failure }) {
    const at = await lockDeviceStatus(tx, { deviceId });
    await writeFailedStatus(tx, { siteId, deviceId, at, failure });
  },
};
