import { fingerprintOf } from "./enroll.ts";
import type { AgentIdentity, StateFolder } from "./state_folder.ts";
import { readStatusFile, type StatusFile } from "./status_file.ts";

/** A session that no heartbeat was answered of for this long is not called live. */
const LIVE_MS = 180_000;

/** What `status` says, for programs. */
export interface AgentStatus {
  readonly agentId: string;
  readonly name: string;
  /** Of its signing key: what an administrator compares before approving it. */
  readonly fingerprint: string;
  readonly controlPlaneUrl: string;
  readonly siteIds: readonly string[];
  readonly running: boolean;
  /** What the running agent wrote last, or the one that ran last; null when none ever did. */
  readonly last: StatusFile | null;
}

/** Puts together what the folder and the agent that runs from it say. */
export async function readStatus(
  state: StateFolder,
  identity: AgentIdentity,
): Promise<AgentStatus> {
  const { agentId, name, controlPlaneUrl, siteIds } = identity;
  return {
    agentId,
    name,
    fingerprint: await fingerprintOf(identity),
    controlPlaneUrl,
    siteIds,
    running: await state.isLocked(),
    last: await readStatusFile(state.path) ?? null,
  };
}

/** The status as a table for people. */
export function showStatus(status: AgentStatus, nowMs = Date.now()): string {
  const { last, running } = status;
  const rows: (readonly [string, string])[] = [
    ["agent", `${status.name} (${status.agentId})`],
    ["fingerprint", status.fingerprint],
    ["control plane", status.controlPlaneUrl],
    ["sites", status.siteIds.join(", ")],
    ["state", stateOf(status)],
    ...(running && last ? figuresOf(last, nowMs) : []),
    ...(last?.lastErrors ?? []).map(({ at, event, reason }, index) =>
      [index === 0 ? "last errors" : "", `${at} ${event} ${reason}`.trimEnd()] as const
    ),
  ];
  return rows.map(([name, value]) => `${name.padEnd(14)}${value}`).join("\n");
}

function stateOf({ running, last }: AgentStatus): string {
  if (running && last) {
    return `running since ${last.startedAt}, process ${last.pid}, version ${last.version}`;
  }
  if (running) return "running";
  return last ? `not running; last seen running at ${last.writtenAt}` : "not running";
}

function figuresOf(last: StatusFile, nowMs: number): (readonly [string, string])[] {
  const { spool, clockAheadSeconds: ahead } = last;
  return [
    ["session", sessionOf(last, nowMs)],
    ["devices", `${last.sessions} of ${last.capacity} sessions in use`],
    [
      "spool",
      `${spool.entries} results wait, ${spool.bytes} bytes` +
      (spool.full === null ? "" : `; nothing is claimed: ${spool.full}`),
    ],
    [
      "clock",
      ahead === null
        ? "not compared yet"
        : `${Math.abs(ahead)} s ${ahead < 0 ? "behind" : "ahead of"} the control plane's`,
    ],
    ...(last.syslog ? [["syslog", syslogOf(last.syslog)] as const] : []),
  ];
}

function syslogOf(syslog: NonNullable<StatusFile["syslog"]>): string {
  const { place, listening, messages, changes, refused, tooMany, noRoom, told, unknown } = syslog;
  const heard = `${messages} messages, ${changes} of changes, ${told} hints told, ${unknown} of ` +
    `them of no device; dropped: ${tooMany} too many, ${noRoom} without room, ${syslog.unheard} ` +
    `unheard, ${refused} of others`;
  return `${listening ? "listens at" : "does not listen at"} ${place}; ${heard}`;
}

function sessionOf({ sessionSince, heartbeatAnsweredAt }: StatusFile, nowMs: number): string {
  if (sessionSince === null) return "none: the control plane was not reached since the start";
  const heardMs = nowMs - Date.parse(heartbeatAnsweredAt ?? sessionSince);
  const heard = `last heartbeat answered ${Math.max(0, Math.round(heardMs / 1_000))} s ago`;
  return heardMs < LIVE_MS ? `live since ${sessionSince}, ${heard}` : `lost: ${heard}`;
}
