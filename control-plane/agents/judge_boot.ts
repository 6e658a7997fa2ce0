import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import type { HeardBoot, KnownBoot } from "./boot_store.ts";
import type { KeyHolder } from "./key_store.ts";

/**
 * A request that a process sent before it died may be this long on its way: it must not look as if the process were
 * alive beside its successor.
 */
const LAST_WORDS_SECONDS = 5;

/** `note`: list the boot for the person who decides; `lock`: two copies of the agent exist. */
export interface Refusal {
  readonly problem: ProblemError;
  readonly consequence: "none" | "note" | "lock";
}

/**
 * Whether a boot that proved a key of the agent may have the session; undefined when it may. Sequence n or n−1 is honest:
 * a lost reply, a power cut, a restored snapshot. A boot that was replaced and is still there, a counter that lies further
 * back, or a key that a rotation replaced, is a second copy of the state folder.
 */
export function judgeBoot(
  { agent, keyState, retiredSeconds }: KeyHolder,
  boot: HeardBoot,
  known: KnownBoot | undefined,
): Refusal | undefined {
  const { bootId, sequence } = boot;
  const trusted = agent.trustedBootId;
  if (agent.status === "revoked" || keyState === "dead") return refusal("agent-revoked", REVOKED);
  if (agent.status === "pending") return refusal("agent-pending", PENDING);
  if (known?.refusedAt) return refusal("agent-revoked", notTrusted(bootId));
  if (agent.status === "locked") return waiting(bootId);
  if (trusted !== null && trusted !== bootId) return waiting(bootId);
  if (keyState === "retired") {
    return oldCopy(retiredSeconds, `boot ${bootId} shows a key that ${OLD}`);
  }
  if (known?.replacedAt) {
    return oldCopy(known.replacedSeconds, `boot ${bootId} was replaced, and is still there`);
  }
  if (trusted === null && sequence < agent.sessionSequence - 1) {
    return stale(boot, agent.sessionSequence);
  }
  return undefined;
}

const OLD = "this agent replaced by a new one, so it runs from an older copy of the state folder";
const REVOKED = "This agent was revoked.";
const PENDING = "This agent waits until its fingerprint is approved.";

function notTrusted(bootId: string): string {
  return `Boot ${bootId} is a copy that was not trusted: another one was. Remove its state folder.`;
}

function refusal(type: ProblemType, detail: string): Refusal {
  return { problem: new ProblemError(type, detail), consequence: "none" };
}

function waiting(bootId: string): Refusal {
  const detail =
    `Two copies of this agent were seen; boot ${bootId} waits until one of them is trusted again.`;
  return { problem: new ProblemError("agent-locked", detail), consequence: "note" };
}

/** Heard right after it was replaced, it may be the last word of a process that is gone: it is to ask again. */
function oldCopy(seconds: number | null, what: string): Refusal {
  if (seconds !== null && seconds < LAST_WORDS_SECONDS) {
    return refusal("conflict", "Another boot or key of this agent took over a moment ago.");
  }
  return locked(what);
}

function stale({ bootId, sequence }: HeardBoot, newest: number): Refusal {
  return locked(
    `boot ${bootId} is number ${sequence} although number ${newest} was heard, so it runs from an ` +
      "older copy of the state folder: a snapshot that was restored, or a clone",
  );
}

function locked(what: string): Refusal {
  const detail = `There are two copies of this agent: ${what}.`;
  return { problem: new ProblemError("agent-locked", detail), consequence: "lock" };
}
