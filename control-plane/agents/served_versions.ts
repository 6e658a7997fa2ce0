import { PROTOCOL_VERSION } from "@rookery/shared/api/agent_protocol.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { ENGINE_VERSION } from "@rookery/shared/version.ts";

/**
 * The protocols that this control plane serves: its own, and those of its two previous minor versions. All of them have spoken
 * protocol 1 so far; a number leaves this list when the last version that speaks it is three minor versions old.
 */
export const SERVED_PROTOCOLS: readonly number[] = [PROTOCOL_VERSION];
/** How many minor versions an agent may be behind. */
const MINORS_BEHIND = 2;

/** What an agent says of itself. */
export interface ReportedVersion {
  readonly agentVersion: string;
  readonly protocolVersion: number;
}

/** Why an agent cannot be served; undefined when it can. It keeps what it holds, and goes on once it was updated. */
export function whyTooOld(
  { agentVersion, protocolVersion }: ReportedVersion,
  own: string = ENGINE_VERSION,
): ProblemError | undefined {
  if (!SERVED_PROTOCOLS.includes(protocolVersion)) {
    const served = SERVED_PROTOCOLS.join(", ");
    return tooOld(
      `The agent speaks protocol ${protocolVersion}; this control plane serves ${served}.`,
    );
  }
  if (!isBehind(agentVersion, own)) return undefined;
  return tooOld(
    `The agent has version ${agentVersion}; this control plane, ${own}, serves its own and the two minor versions before.`,
  );
}

/**
 * A newer agent is none that is behind, and neither is one whose version has another form than ours: who writes an agent of
 * their own is told by the protocol.
 */
function isBehind(agentVersion: string, own: string): boolean {
  const [theirs, ours] = [readVersion(agentVersion), readVersion(own)];
  if (!theirs || !ours) return false;
  if (theirs.major !== ours.major) return theirs.major < ours.major;
  return theirs.minor < ours.minor - MINORS_BEHIND;
}

function readVersion(version: string): { major: number; minor: number } | undefined {
  const [, major, minor] = /^v?(\d{1,6})\.(\d{1,6})(?:\.\d{1,6})?(?:[-+].*)?$/.exec(version) ?? [];
  return major === undefined ? undefined : { major: Number(major), minor: Number(minor) };
}

function tooOld(detail: string): ProblemError {
  return new ProblemError("agent-too-old", detail);
}
