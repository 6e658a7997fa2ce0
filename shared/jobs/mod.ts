import { z } from "zod";
import { BackupConfigOutcome, BackupConfigPayload } from "./backup_config.ts";

/** Every kind of job: what it asks for and what it reports. The lease engine knows none of them by name. */
export const JOB_KINDS = {
  backup_config: { payload: BackupConfigPayload, outcome: BackupConfigOutcome },
} as const;

export type JobKind = keyof typeof JOB_KINDS;
export const JobKind = z.enum(Object.keys(JOB_KINDS) as [JobKind, ...JobKind[]])
  .meta({ id: "JobKind" });
