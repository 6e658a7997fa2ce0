import type { AgentId, BootId, ClaimId, SiteId } from "@rookery/shared/ids.ts";
import type { AgentServices } from "../agents/services.ts";
import { findAgent } from "../agents/store.ts";
import { claimJobs, type GrantedLease } from "./claim.ts";

/** Agents that came together, after a restart say, are to come back one by one. */
const HOLD_SHARE = { least: 0.7, more: 0.3 };

export interface WaitingClaim {
  readonly agentId: AgentId;
  readonly bootId: BootId;
  readonly claimId: ClaimId;
  readonly siteIds: readonly SiteId[];
  readonly wanted: number;
  readonly waitSeconds: number;
  /** What the agent reported when it opened its session: digests by platform. */
  readonly drivers: unknown;
  /** The kinds of job that it said it can run. */
  readonly kinds: readonly string[];
}

/**
 * Claims, and while there is nothing holds on without a database connection until there is. Whoever holds on is woken by
 * work and by nothing else: ten thousand agents that look by themselves would be the larger part of all that is asked.
 */
export async function waitForLeases(
  { db, floors, wakeups, overload, drivers }: Pick<
    AgentServices,
    "db" | "floors" | "wakeups" | "overload" | "drivers"
  >,
  claim: WaitingClaim,
  signal: AbortSignal,
): Promise<GrantedLease[]> {
  const ours = await drivers.digests();
  let platforms = runnablePlatforms(ours, claim.drivers);
  const until = performance.now() +
    claim.waitSeconds * 1_000 * (HOLD_SHARE.least + HOLD_SHARE.more * Math.random());
  // Nobody hears what an abandoned claim is granted.
  while (!signal.aborted) {
    const order = { ...claim, siteIds: shuffled(claim.siteIds), platforms };
    const leases = await claimJobs(db, order, floors);
    const left = until - performance.now();
    if (leases.length > 0 || left <= 0 || wakeups.closed) return leases;
    await overload.rest("claims", wakeups.wait(claim.siteIds, { ms: left, signal }));
    if (platforms.length === Object.keys(ours).length) continue;
    // It may have fetched a driver meanwhile, which is why it was woken.
    const agent = await findAgent(db, claim.agentId);
    platforms = runnablePlatforms(ours, agent?.drivers ?? {});
  }
  return [];
}

/** An agent is granted only what it has the very driver of. */
function runnablePlatforms(ours: Readonly<Record<string, string>>, drivers: unknown): string[] {
  const reported = drivers as Readonly<Record<string, string>>;
  return Object.entries(ours)
    .filter(([platform, digest]) => reported[platform] === digest)
    .map(([platform]) => platform);
}

/** So that an agent of many sites does not always drain the first one first. */
function shuffled<Item>(items: readonly Item[]): Item[] {
  return items.map((item) => [Math.random(), item] as const)
    .sort(([left], [right]) => left - right).map(([, item]) => item);
}
