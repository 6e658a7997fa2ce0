import { z } from "zod";
import { backupConfig } from "./backup_config.ts";
import type { KindContract } from "./kind.ts";

/** Every kind of job: what it asks for and what it reports. The lease engine knows none of them by name. */
export const JOB_KINDS = {
  backup_config: backupConfig,
} as const satisfies Record<string, KindContract>;

export type JobKind = keyof typeof JOB_KINDS;
export const JobKind = z.enum(Object.keys(JOB_KINDS) as [JobKind, ...JobKind[]])
  .meta({ id: "JobKind" });
