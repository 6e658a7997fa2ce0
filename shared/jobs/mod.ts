import { z } from "zod";
import { backupConfig } from "./backup_config.ts";
import { checkReachability } from "./check_reachability.ts";
import { detectPlatform } from "./detect_platform.ts";
import type { KindContract } from "./kind.ts";
import { runCommands } from "./run_commands.ts";

/** Every kind of job: what it asks for and what it reports. The lease engine knows none of them by name. */
export const JOB_KINDS = {
  backup_config: backupConfig,
  check_reachability: checkReachability,
  run_commands: runCommands,
  detect_platform: detectPlatform,
} as const satisfies Record<string, KindContract>;

export type JobKind = keyof typeof JOB_KINDS;
export const JobKind = z.enum(Object.keys(JOB_KINDS) as [JobKind, ...JobKind[]])
  .meta({ id: "JobKind" });
