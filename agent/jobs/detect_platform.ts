import {
  DetectPlatformOutcome,
  DetectPlatformPayload,
} from "@rookery/shared/jobs/detect_platform.ts";
import type { RunnableLease } from "../verify_lease.ts";
import type { JobOptions, JobResult } from "./mod.ts";
import { orderOf } from "./order.ts";

/** Asks the device what it is; what its answers mean is worked out by the control plane. */
export async function detectPlatform(
  lease: RunnableLease,
  options: JobOptions,
): Promise<JobResult> {
  const { probes } = DetectPlatformPayload.parse(lease.claims.payload);
  const order = { ...orderOf(lease), kind: "detect_platform", probes } as const;
  const { kind: _, ...outcome } = await options.sessions.run(order, options);
  return { outcome: DetectPlatformOutcome.parse(outcome), uploads: [] };
}
