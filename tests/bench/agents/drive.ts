/** Agents that claim and report: as fast as they can, or at a fixed rate. */
import type { CaptureBaseline } from "@rookery/shared/jobs/lease.ts";
import type { Driven, Order } from "./orders.ts";
import { type Body, later, type SimAgent, type SimLease } from "./sim_agent.ts";

type OrderOf<Name> = Extract<Order, { order: Name }>;

interface Tally {
  jobs: number;
  claims: number;
  empty: number;
  failed: number;
  readonly claimMs: number[];
  readonly resultMs: number[];
}

function newTally(): Tally {
  return { jobs: 0, claims: 0, empty: 0, failed: 0, claimMs: [], resultMs: [] };
}

/** Closed loop: `atOnce` turns run at any time, agents take them one after the other; ends early when all is done. */
export async function drive(
  agents: readonly SimAgent[],
  { atOnce, batch, seconds }: OrderOf<"drive">,
): Promise<Driven> {
  const tally = newTally();
  const started = performance.now();
  const until = started + seconds * 1_000;
  let next = 0;
  let emptyInARow = 0;
  const busy = new Set<SimAgent>();
  async function work(): Promise<void> {
    while (performance.now() < until && emptyInARow < agents.length) {
      const agent = agents[next++ % agents.length];
      if (!agent || busy.has(agent)) continue;
      busy.add(agent);
      const got = await turn(agent, { batch, tally, dueAt: performance.now() });
      emptyInARow = got ? 0 : emptyInARow + 1;
      busy.delete(agent);
    }
  }
  const workers = Math.min(atOnce, Math.ceil(agents.length / 2));
  await Promise.all(Array.from({ length: workers }, work));
  return { ...tally, seconds: (performance.now() - started) / 1_000 };
}

/** Open loop: a turn begins when it is due, and waiting for its start counts as waiting for its answer. */
export async function pace(
  agents: readonly SimAgent[],
  { perSecond, seconds }: OrderOf<"pace">,
): Promise<Driven> {
  const tally = newTally();
  const started = performance.now();
  const running = new Set<Promise<unknown>>();
  for (let n = 0; n < perSecond * seconds; n++) {
    const dueAt = started + n * 1_000 / perSecond;
    const early = dueAt - performance.now();
    if (early > 0) await later(early);
    const agent = agents[n % agents.length];
    if (!agent) break;
    const run: Promise<unknown> = turn(agent, { batch: 1, tally, dueAt })
      .finally(() => running.delete(run));
    running.add(run);
  }
  await Promise.all(running);
  return { ...tally, seconds: (performance.now() - started) / 1_000 };
}

interface Turn {
  readonly batch: number;
  readonly tally: Tally;
  readonly dueAt: number;
}

/** What is refused is counted: on a machine that cannot keep up, offers are over before they are started. */
async function turn(agent: SimAgent, options: Turn): Promise<boolean> {
  try {
    return await claimAndReport(agent, options);
  } catch {
    options.tally.failed++;
    return true;
  }
}

/** Claim, start, report: what an agent says about jobs whose devices have not changed. */
async function claimAndReport(agent: SimAgent, { batch, tally, dueAt }: Turn): Promise<boolean> {
  const leases = await agent.claim({ wanted: batch, waitSeconds: 0 });
  tally.claims++;
  if (leases.length === 0) {
    tally.empty++;
    return false;
  }
  tally.claimMs.push(performance.now() - dueAt);
  await agent.heartbeat(leases.map(({ claims }) => claims.jti));
  for (const lease of leases) {
    const sentAt = performance.now();
    await agent.report(lease, unchanged(lease));
    tally.resultMs.push(performance.now() - sentAt);
    tally.jobs++;
  }
  return true;
}

/** The report of most nights: the device was read, and nothing has changed. */
function unchanged({ claims: { baselines, device } }: SimLease): Body {
  const captures = Object.entries(baselines).map(([name, baseline]: [string, CaptureBaseline]) => ({
    name,
    grade: "marker",
    rawSha256: baseline.normalisedSha256,
    ...baseline,
    unchanged: true,
    confirmedShrunk: false,
  }));
  const algorithms = {
    kex: "curve25519-sha256",
    cipher: "aes128-gcm@openssh.com",
    mac: "",
    hostKey: "ssh-ed25519",
  };
  const outcome = { captures, facts: {}, hostKey: device.hostKeys[0], algorithms };
  return { status: "completed", outcome };
}
