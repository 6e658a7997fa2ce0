import { PROTOCOL_VERSION } from "@rookery/shared/api/agent_protocol.ts";
import { ProblemError } from "@rookery/shared/problem.ts";

/**
 * The protocols that this control plane serves: its own, and those of its two previous minor versions. All of them have spoken
 * protocol 1 so far; a number leaves this list when the last version that speaks it is three minor versions old.
 */
export const SERVED_PROTOCOLS: readonly number[] = [PROTOCOL_VERSION];

/** Refuses an agent whose protocol is not served. It keeps what it holds, and goes on once it was updated. */
export function requireServed(protocolVersion: number): void {
  if (SERVED_PROTOCOLS.includes(protocolVersion)) return;
  const served = SERVED_PROTOCOLS.join(", ");
  throw new ProblemError(
    "agent-too-old",
    `The agent speaks protocol ${protocolVersion}; this control plane serves ${served}.`,
  );
}
