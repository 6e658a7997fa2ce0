/** One run: a calm start, the storm, the calm after it, and the histories of all that. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { revokeAgent } from "@rookery/shared/api/agents.ts";
import type { AgentId } from "@rookery/shared/ids.ts";
import type { ProcessGroup } from "../support/processes.ts";
import { addProtocolAgents, addRealAgent, type ProtocolAgents, type RealAgent } from "./agents.ts";
import type { RunFacts } from "./history.ts";
import { createDevices, createSites, type Devices, type Farm, startFarm } from "./inventory.ts";
import { hurry, runLoad } from "./load.ts";
import { devicesWithOpenJobs, monitor } from "./monitor.ts";
import type { FaultsOptions } from "./options.ts";
import { createPolicies, type Policies, stopPolicies } from "./policies.ts";
import { planFaults, PROTOCOL_PROCESSES } from "./plan.ts";
import { type Centre, openCentre } from "./stage.ts";
import { runStorm, type Storm } from "./storm.ts";
import { exportTables, searchSecrets } from "./tables.ts";

/** The shortest that a site can have: pauses must be longer. */
const TTL_SECONDS = 30;
const LIMITS = { north: 6, south: 6, east: 40, west: 40 };
const CAPACITY = { real: 8, protocol: 20 };
const LOCAL_NAME = "farm";
const QUIET_MS = 180_000;
const LOOK_MS = 1_000;
/** Devices that no SSH server plays, to those of the farm. */
const TOLD_SHARE = 1.5;
/** The part of the storm after which one agent is revoked. */
const REVOKE_SHARE = 0.6;

export type RunOptions =
  & Pick<FaultsOptions, "seconds" | "seed" | "devices" | "pace">
  & { readonly histories: string; readonly say: (text: string) => void };

/** Starts all of it in processes of `group`; `stack` ends what it starts, in the right order. */
export async function run(
  { group, stack }: { readonly group: ProcessGroup; readonly stack: AsyncDisposableStack },
  options: RunOptions,
): Promise<void> {
  const { histories, say } = options;
  say("Starting a database, two replicas, a farm and the agents ...");
  const scene = await setScene(group, stack, options);
  const startedAt = Date.now();
  say(`Ordering and making faults for ${options.seconds} s ...`);
  await storm(scene, options);
  const calmAt = Date.now();
  say("Waiting until every job has ended ...");
  const isQuiet = await untilQuiet(scene);
  const quietAt = Date.now();
  if (!isQuiet) say("Some jobs did not end");
  await writeFacts(scene, options, { startedAt, calmAt, quietAt });
  const address = scene.centre.postgres.connection;
  await exportTables(address, histories);
  await searchSecrets(address, {
    histories,
    stateFolders: scene.agents.map(({ stateFolder }) => stateFolder),
    secrets: scene.secrets,
  });
}

interface Scene extends Storm {
  readonly devices: Devices;
  readonly facts: Pick<RunFacts, "sites" | "agents" | "devices" | "policies" | "ttlSeconds">;
  readonly policies: Policies;
  /** Of devices of the farm and their logins: to be found nowhere. */
  readonly secrets: readonly string[];
  /** Has no part in faults but this one. */
  readonly victim: string;
}

async function setScene(
  group: ProcessGroup,
  stack: AsyncDisposableStack,
  { seed, histories, devices: count, say }: RunOptions,
): Promise<Scene> {
  const onDeath = (name: string, tail: string) => say(`${name} ended by itself:\n${tail}`);
  const centre = await openCentre(group, stack, { seed, histories, onDeath });
  const password = `farm-${crypto.randomUUID()}`;
  const wrong = `wrong-${crypto.randomUUID()}`;
  const names = ["north-1", "south-1", "both-1"];
  const login = { username: "netops", password };
  const farm = await startFarm(centre, { devices: count, seed, ...login, alsoUsers: names });
  const sites = await createSites(centre, { ttlSeconds: TTL_SECONDS, limits: LIMITS });
  const devices = await createDevices(centre, {
    ...{ sites, farm, virtual: Math.round(count * TOLD_SHARE) },
    logins: { stored: login, localName: LOCAL_NAME, wrong },
  });
  const [north, south, east, west] = sites.map(({ siteId }) => siteId);
  if (!north || !south || !east || !west) throw new RangeError("There are four sites");
  const common = { onDeath, localLogin: { name: LOCAL_NAME, password } };
  const add = (
    order: Pick<Parameters<typeof addRealAgent>[2], "name" | "siteIds" | "jumps" | "disk">,
  ) => addRealAgent(centre, stack, { ...common, capacity: CAPACITY.real, ...order });
  const agents: RealAgent[] = [
    await add({ name: "north-1", siteIds: [north] }),
    await add({ name: "south-1", siteIds: [south], jumps: true }),
    await add({ name: "both-1", siteIds: [north, south], disk: true }),
  ];
  const protocol: ProtocolAgents[] = [];
  for (let number = 1; number <= PROTOCOL_PROCESSES; number++) {
    const names = [["east", [east]], ["west", [west]], ["everywhere", [east, west]]] as const;
    const played = names.map(([name, siteIds]) => ({ name: `${name}-${number}`, siteIds }));
    const victim = number === 1 ? [{ name: "victim", siteIds: [east, west] }] : [];
    protocol.push(
      await addProtocolAgents(centre, stack, {
        ...{ onDeath, seed, number, capacity: CAPACITY.protocol },
        agents: [...played, ...victim],
      }),
    );
  }
  const policies = await createPolicies(centre.client, devices);
  const told = protocol.flatMap((each) => each.agents);
  const victim = told.find(({ name }) => name === "victim")?.agentId ?? "";
  const facts = {
    ttlSeconds: TTL_SECONDS,
    sites: [...sites],
    devices: [...devices],
    policies: policies.facts,
    agents: [
      ...agents.map(({ agentId, name, kind, capacity }) => ({ agentId, name, kind, capacity })),
      ...told,
    ],
  };
  return {
    ...{ centre, farm, agents, devices, policies, facts },
    protocol: {
      processes: protocol.map(({ process }) => process),
      agentIds: told.map(({ agentId }) => agentId).filter((agentId) => agentId !== victim),
    },
    victim,
    secrets: [password, wrong, ...ofSome(farm)],
  };
}

/** One in so many: each secret is looked for in every row of every table. */
const SECRETS_EVERY = 20;

function ofSome(farm: Farm): string[] {
  return farm.devices.filter((_, index) => index % SECRETS_EVERY === 0)
    .flatMap(({ secrets }) => secrets);
}

async function storm(scene: Scene, { seed, seconds, pace, histories }: RunOptions): Promise<void> {
  const { centre, devices, agents, farm, policies, victim } = scene;
  const { client, gateway, postgres } = centre;
  const plan = planFaults({
    ...{ seed, seconds, ttlSeconds: TTL_SECONDS, agents: agents.length },
    devices: farm.devices.length,
  });
  const over = new AbortController();
  const { signal } = over;
  const timer = setTimeout(() => over.abort(), seconds * 1_000);
  gateway.stormy = true;
  const watching = monitor(postgres.connection, { histories, signal });
  const load = runLoad({
    ...{ client, devices, seed, perSecond: pace, signal },
    policyId: policies.byPeople,
  });
  const revoking = revokeLater(centre, victim, seconds * REVOKE_SHARE * 1_000);
  await Promise.all([runStorm(scene, plan), load, revoking, watching]);
  clearTimeout(timer);
  gateway.stormy = false;
  await stopPolicies(client, policies);
}

async function revokeLater({ client }: Centre, victim: string, ms: number): Promise<void> {
  await delay(ms);
  const params = { agentId: victim as AgentId };
  await client.tell("revoke", { endpoint: revokeAgent, input: { params } }, () => ({
    agentId: victim,
  }));
}

/** Whether every job has ended; what waits for its next try is ordered again, which makes it due. */
async function untilQuiet({ centre: { client, postgres } }: Scene): Promise<boolean> {
  const giveUpAt = performance.now() + QUIET_MS;
  while (performance.now() < giveUpAt) {
    const open = await devicesWithOpenJobs(postgres.connection).catch(() => undefined);
    if (open?.length === 0) return true;
    await hurry(client, open ?? []);
    await delay(LOOK_MS);
  }
  return false;
}

async function writeFacts(
  { facts, secrets }: Scene,
  { seed, seconds, histories }: RunOptions,
  times: Pick<RunFacts, "startedAt" | "calmAt" | "quietAt">,
): Promise<void> {
  const told: RunFacts = { seed, seconds, ...times, secrets: secrets.length, ...facts };
  await Deno.writeTextFile(join(histories, "run.json"), JSON.stringify(told, null, 2));
}
