/** Everything that a round is played on: an installation, a farm entered into it, and an agent per site. */
import type { DeviceId } from "@rookery/shared/ids.ts";
import type { Fault } from "../support/farm/fault.ts";
import { type AgentProcess, Installation } from "../support/installation.ts";
import type { ProcessGroup } from "../support/processes.ts";
import { type FarmChild, startFarmChild } from "./farm_child.ts";
import { createDevices, createSites, type DemoDevice, type DemoSite } from "./inventory.ts";
import { type Row, runRound } from "./round.ts";
import type { Progress } from "./progress.ts";

const AGENT_CAPACITY = 32;
/** A round of devices that hang takes some ten seconds; the rest depends on their number. */
const ROUND_MS = 120_000;
const MS_PER_DEVICE = 1_000;

export interface StageOptions {
  readonly devices: number;
  readonly seed: number;
  /** Faults to give out, one per device; the others are sound. */
  readonly faults: readonly Fault[];
}

export interface RoundOptions {
  /** Devices whose configuration was changed since the round before; undefined in the first round. */
  readonly changed?: ReadonlySet<DeviceId>;
  readonly onProgress?: (progress: Progress) => void;
  /** Called once, when half of the devices were tried; the round goes on meanwhile. */
  readonly onHalf?: () => Promise<void>;
}

export interface Stage {
  readonly installation: Installation;
  readonly farm: FarmChild;
  readonly sites: readonly DemoSite[];
  readonly devices: readonly DemoDevice[];
  /** One per site. */
  readonly agents: readonly AgentProcess[];
  /** "Back up now" for every site, until every device was tried. */
  playRound(options?: RoundOptions): Promise<Row[]>;
}

/** Starts all of it in processes of `group`. */
export async function setStage(group: ProcessGroup, options: StageOptions): Promise<Stage> {
  const [installation, farm] = await Promise.all([
    Installation.start(group),
    startFarmChild(group, options),
  ]);
  const { api } = installation;
  await installation.setUpAdministrator();
  const sites = await createSites(api, AGENT_CAPACITY);
  const devices = await createDevices(api, sites, farm);
  const agents = await Promise.all(
    sites.map(({ siteId, name }) =>
      installation.addAgent({ name, siteIds: [siteId], capacity: AGENT_CAPACITY })
    ),
  );
  const timeoutMs = ROUND_MS + MS_PER_DEVICE * options.devices;
  const playRound = (order: RoundOptions = {}) =>
    runRound({ api, sites, devices, timeoutMs, ...order });
  return { installation, farm, sites, devices, agents, playRound };
}
