import { BackupConfigOutcome, BackupConfigPayload } from "@rookery/shared/jobs/backup_config.ts";
import type { RunnableLease } from "../verify_lease.ts";
import type { JobOptions, JobResult } from "./mod.ts";
import { orderOf } from "./order.ts";

/** Reads the device's configurations; what did not change is reported and not uploaded. */
export async function backUpConfig(lease: RunnableLease, options: JobOptions): Promise<JobResult> {
  const { payload, baselines } = lease.claims;
  const report = await options.sessions.run({
    ...orderOf(lease),
    kind: "backup_config",
    captures: BackupConfigPayload.parse(payload).captures,
    baselines,
  }, options);
  return {
    outcome: BackupConfigOutcome.parse({
      captures: report.captures.map((capture) => capture.outcome),
      facts: report.facts,
      hostKey: report.hostKey,
      algorithms: report.algorithms,
    }),
    uploads: report.captures
      .filter(({ outcome }) => !outcome.unchanged)
      .map(({ outcome, raw }) => ({ sha256: outcome.rawSha256, bytes: new Uint8Array(raw) })),
  };
}
