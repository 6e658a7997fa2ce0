import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import type { RunnableLease } from "../verify_lease.ts";
import type { OnStep } from "../session/order.ts";
import type { SessionRunner } from "../workers/session_threads.ts";
import { backUpConfig } from "./backup_config.ts";
import { checkReachability } from "./check_reachability.ts";
import { detectPlatform } from "./detect_platform.ts";
import { runCommands } from "./run_commands.ts";

/** Bytes that an outcome names and that the control plane may not have yet. */
export interface Upload {
  readonly sha256: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface JobResult {
  /** The kind's outcome, see `shared/jobs/<kind>.ts`. */
  readonly outcome: unknown;
  readonly uploads: readonly Upload[];
}

export interface JobOptions {
  /** Where device sessions run; they keep to the local policy. */
  readonly sessions: SessionRunner;
  readonly signal: AbortSignal;
  readonly onStep: OnStep;
}

export type JobRunner = (lease: RunnableLease, options: JobOptions) => Promise<JobResult>;

/** Every kind of job and what runs it; a runner throws a DeviceError when the attempt failed. */
export const RUNNERS = {
  backup_config: backUpConfig,
  check_reachability: checkReachability,
  run_commands: runCommands,
  detect_platform: detectPlatform,
} satisfies Record<JobKind, JobRunner>;
