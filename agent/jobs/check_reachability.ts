import {
  CheckReachabilityOutcome,
  CheckReachabilityPayload,
} from "@rookery/shared/jobs/check_reachability.ts";
import { unreachable } from "../session/reach.ts";
import type { RunnableLease } from "../verify_lease.ts";
import type { JobOptions, JobResult } from "./mod.ts";
import { orderOf } from "./order.ts";

/** Sees how far it gets to the device. A name that does not resolve is an answer as well. */
export async function checkReachability(
  lease: RunnableLease,
  options: JobOptions,
): Promise<JobResult> {
  const { login } = CheckReachabilityPayload.parse(lease.claims.payload);
  const order = { ...orderOf(lease), kind: "check_reachability", login } as const;
  try {
    const { kind: _, ...outcome } = await options.sessions.run(order, options);
    return { outcome: CheckReachabilityOutcome.parse(outcome), uploads: [] };
  } catch (error) {
    return { outcome: { reachable: false, stages: [], ...unreachable(error) }, uploads: [] };
  }
}
