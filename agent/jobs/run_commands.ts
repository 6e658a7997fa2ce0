import { RunCommandsOutcome, RunCommandsPayload } from "@rookery/shared/jobs/run_commands.ts";
import type { RunnableLease } from "../verify_lease.ts";
import type { JobOptions, JobResult } from "./mod.ts";
import { orderOf } from "./order.ts";

/** Runs commands that read; `verifyLease` has looked at each of them. */
export async function runCommands(lease: RunnableLease, options: JobOptions): Promise<JobResult> {
  const { commands } = RunCommandsPayload.parse(lease.claims.payload);
  const order = { ...orderOf(lease), kind: "run_commands", commands } as const;
  const { kind: _, ...outcome } = await options.sessions.run(order, options);
  return { outcome: RunCommandsOutcome.parse(outcome), uploads: [] };
}
