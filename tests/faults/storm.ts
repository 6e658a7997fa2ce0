/** Makes the planned faults, each at its time. */
import { setTimeout as delay } from "node:timers/promises";
import { postmasterPid } from "../database/cluster_process.ts";
import type { Fault } from "../support/farm/fault.ts";
import type { RealAgent } from "./agents.ts";
import type { LinkFault } from "./gateway.ts";
import { type FaultLine, openTeller, type Teller } from "./history.ts";
import type { Farm } from "./inventory.ts";
import type { FaultName, PlannedFault } from "./plan.ts";
import type { Restarted } from "./processes.ts";
import { canMount, fillDisk, freeDisk } from "./small_disk.ts";
import type { Centre } from "./stage.ts";

export interface Storm {
  readonly centre: Centre;
  readonly agents: readonly RealAgent[];
  readonly protocol: {
    readonly processes: readonly Restarted[];
    readonly agentIds: readonly string[];
  };
  readonly farm: Farm;
}

/** What a device does for its next connection or two. */
const DEVICE_FAULTS: readonly Fault[] = [
  "die_mid_configuration",
  "busy",
  "close_mid_configuration",
  "garbage_after_login",
  "stall_mid_configuration",
];

/** Until all faults are made and over. */
export async function runStorm(storm: Storm, plan: readonly PlannedFault[]): Promise<void> {
  using history = openTeller<FaultLine>(storm.centre.histories, "faults.jsonl");
  const startedAt = performance.now();
  // Two faults of one kind do not meet on one target: the end of the first would end the second.
  const busy = new Set<string>();
  await Promise.all(plan.map(async (planned) => {
    await delay(Math.max(0, startedAt + planned.atMs - performance.now()));
    await makeFault(storm, planned, { busy, history });
  }));
}

interface Making {
  readonly busy: Set<string>;
  readonly history: Teller<FaultLine>;
}

async function makeFault(
  storm: Storm,
  planned: PlannedFault,
  { busy, history }: Making,
): Promise<void> {
  const { fault, forMs } = planned;
  const found = await MAKERS[fault](storm, planned);
  if (!found) return;
  const { target } = found;
  if (busy.has(target)) return;
  busy.add(target);
  history.tell({ fault, target, phase: "begin" });
  try {
    await found.begin();
    await delay(forMs);
    await found.end?.();
  } finally {
    history.tell({ fault, target, phase: "end" });
    busy.delete(target);
  }
}

interface Found {
  readonly target: string;
  readonly begin: () => Promise<void> | void;
  readonly end?: () => Promise<void> | void;
}

type Made = Found | undefined;
type Maker = (storm: Storm, planned: PlannedFault) => Made | Promise<Made>;

function killing(process: Restarted | undefined, { forMs }: PlannedFault): Made {
  if (!process?.alive) return undefined;
  return { target: process.name, begin: () => process.kill(forMs) };
}

function pausing(process: Restarted | undefined): Made {
  if (!process?.alive) return undefined;
  return { target: process.name, begin: () => process.pause(), end: () => process.resume() };
}

/** How long a fault waits until its agent speaks to a device: in between it would find nothing to break. */
const BUSY_MS = 5_000;
const LOOK_MS = 5;
/** Then so long, at most, so that it comes in the middle. */
const MIDWAY_MS = 800;

async function whenBusy(
  agent: RealAgent | undefined,
  { forMs }: PlannedFault,
  make: (process: Restarted | undefined) => Made,
): Promise<Made> {
  const giveUpAt = performance.now() + BUSY_MS;
  while (agent?.running.size === 0 && performance.now() < giveUpAt) await delay(LOOK_MS);
  await delay(forMs % MIDWAY_MS);
  return make(agent?.process);
}

/** One of two: with both away, this would be no test of the other one. */
async function oneOf(
  { centre: { replicas } }: Storm,
  target: number,
  make: (process: Restarted | undefined) => Made,
): Promise<Made> {
  const others = replicas.filter((_, index) => index !== target);
  const ready = await Promise.all(others.map((replica) => replica.isReady()));
  return ready.every((isReady) => isReady) ? make(replicas[target]) : undefined;
}

function breaking(fault: LinkFault): Maker {
  return ({ centre: { gateway }, agents, protocol }, { target }) => {
    const agentIds = [...agents.map(({ agentId }) => agentId), ...protocol.agentIds];
    const agentId = agentIds[target % agentIds.length];
    if (agentId === undefined) return undefined;
    return {
      target: `link of ${agentId}`,
      begin: () => gateway.setLink(agentId, fault),
      end: () => gateway.setLink(agentId, undefined),
    };
  };
}

const MAKERS: Record<FaultName, Maker> = {
  kill_agent: ({ agents }, planned) =>
    whenBusy(agents[planned.target], planned, (process) => killing(process, planned)),
  kill_protocol: ({ protocol: { processes } }, planned) =>
    killing(processes[planned.target % processes.length], planned),
  kill_replica: (storm, planned) =>
    oneOf(storm, planned.target, (process) => killing(process, planned)),
  kill_database: ({ centre: { dataDir } }) => ({
    target: "database",
    begin: async () => Deno.kill(await postmasterPid(dataDir), "SIGKILL"),
  }),
  pause_agent: ({ agents }, planned) => whenBusy(agents[planned.target], planned, pausing),
  pause_protocol: ({ protocol: { processes } }, { target }) =>
    pausing(processes[target % processes.length]),
  pause_replica: (storm, { target }) => oneOf(storm, target, pausing),
  cut: breaking("cut"),
  half_open: breaking("half_open"),
  lose_replies: breaking("lose_replies"),
  fill_disk: ({ agents }) => {
    const folder = agents.at(-1)?.stateFolder;
    if (folder === undefined || !canMount()) return undefined;
    return { target: "disk", begin: () => fillDisk(folder), end: () => freeDisk(folder) };
  },
  device: ({ farm }, { target, forMs }) => {
    const port = farm.devices[target % farm.devices.length]?.port;
    const fault = DEVICE_FAULTS[forMs % DEVICE_FAULTS.length];
    if (port === undefined || !fault) return undefined;
    return { target: `device ${port}`, begin: () => farm.order({ port, fault, times: 1 }) };
  },
};
