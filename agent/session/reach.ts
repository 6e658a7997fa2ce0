import type { CheckReachabilityOutcome } from "@rookery/shared/jobs/check_reachability.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import { knock, type PassedStage } from "../ssh/connect.ts";
import { DeviceError } from "../ssh/ssh_failure.ts";
import { connectTo, type DeviceOrder, withinLimits } from "./order.ts";

/** How far to go to a device. */
export interface ReachOrder extends DeviceOrder {
  readonly kind: "check_reachability";
  readonly login: boolean;
}

export interface ReachReport extends CheckReachabilityOutcome {
  readonly kind: "check_reachability";
}

/** What says nothing about the device, or more than that it cannot be reached: a key to accept, an alarm. */
const NO_ANSWERS: readonly FailureCode[] = [
  "agent_fault",
  "cancelled",
  "credential_unusable",
  "host_key_changed",
  "host_key_unknown",
  "lease_lost",
  "refused_by_agent_policy",
  "session_disruptive",
];

/** The answer that a failure is; throws it when it is none. */
export function unreachable(error: unknown): Pick<CheckReachabilityOutcome, "failure"> {
  if (!(error instanceof DeviceError) || NO_ANSWERS.includes(error.code)) throw error;
  return { failure: { code: error.code, detail: error.message.slice(0, 2_000) } };
}

/** Goes to a device stage by stage and times each of them. That the device is not there is an answer, no failure. */
export async function reachDevice(
  order: ReachOrder,
  options: { readonly signal: AbortSignal },
): Promise<ReachReport> {
  const stages: CheckReachabilityOutcome["stages"] = [];
  let startedAt = performance.now();
  const onStage = ({ stage, seen }: PassedStage) => {
    const now = performance.now();
    const milliseconds = Math.round((now - startedAt) * 10) / 10;
    stages.push({ stage, milliseconds, ...(seen === undefined ? {} : { seen }) });
    startedAt = now;
  };
  const kind = "check_reachability";
  try {
    const seen = await withinLimits(order, options, (signal) => go(order, { signal, onStage }));
    return { kind, reachable: true, stages, ...seen };
  } catch (error) {
    return { kind, reachable: false, stages, ...unreachable(error) };
  }
}

async function go(
  order: ReachOrder,
  options: { readonly signal: AbortSignal; readonly onStage: (passed: PassedStage) => void },
): Promise<Pick<CheckReachabilityOutcome, "hostKey" | "algorithms">> {
  if (!order.login) {
    const { target, addresses, allowAddress, limits } = order;
    const { connectSeconds } = limits;
    await knock({ ...target, addresses, allowAddress, connectSeconds, ...options });
    return {};
  }
  const connection = await connectTo(order, options);
  const { hostKey, algorithms } = connection;
  await connection.close();
  return { hostKey, algorithms };
}
