/** The agents of a run: real ones, as in production, and one process of agents that only speak the protocol. */
import { join } from "node:path";
import { createJoinToken } from "@rookery/shared/api/agents.ts";
import { driverDigests } from "@rookery/shared/drivers/mod.ts";
import type { SiteId } from "@rookery/shared/ids.ts";
import { type AgentLine, openTeller, type RunFacts } from "./history.ts";
import { type Restarted, ROOT, startProgram, startRestarted } from "./processes.ts";
import { ProtocolAgent } from "./protocol_agent.ts";
import type { ProtocolSetup } from "./protocol_process.ts";
import { agentIdsOf, type Centre, type StageOptions } from "./stage.ts";
import { mountDisk } from "./small_disk.ts";

type AgentFacts = RunFacts["agents"][number];

export interface RealAgent extends AgentFacts {
  readonly process: Restarted;
  readonly stateFolder: string;
  /** Leases under which it works on devices now, by its own word. */
  readonly running: ReadonlySet<string>;
}

export interface RealAgentOrder {
  readonly name: string;
  readonly siteIds: readonly SiteId[];
  readonly capacity: number;
  /** Its wall clock jumps. */
  readonly jumps?: boolean;
  /** Its state folder is a disk of its own, which can be filled. */
  readonly disk?: boolean;
  /** What it logs in with where only agents know it. */
  readonly localLogin: { readonly name: string; readonly password: string };
}

const SETTINGS = { drainSeconds: 5, policy: { networks: ["127.0.0.0/8"] } };

/** Enrols an agent, and starts it under the permissions it has in production. */
export async function addRealAgent(
  centre: Centre,
  stack: AsyncDisposableStack,
  { onDeath, ...order }: RealAgentOrder & Pick<StageOptions, "onDeath">,
): Promise<RealAgent> {
  const { name, capacity, localLogin } = order;
  const stateFolder = join(centre.group.folder, `agent-${name}`);
  await Deno.mkdir(stateFolder, { mode: 0o700 });
  if (order.disk) stack.defer(await mountDisk(stateFolder));
  const { name: localName, password } = localLogin;
  await writePrivately(stateFolder, "settings.json", { ...SETTINGS, capacity });
  await writePrivately(stateFolder, "local_credentials.json", {
    [localName]: { username: name, password },
  });
  const { joinToken } = await centre.client.call(createJoinToken, {
    body: { agentName: name, siteIds: [...order.siteIds] },
  });
  const history = stack.use(openTeller<AgentLine>(centre.histories, `agent-${name}.jsonl`));
  const running = new Set<string>();
  const hear = (line: string) => {
    const said = parseLine(line);
    history.tell({ said });
    follow(running, said);
  };
  const start = (args: readonly string[]) =>
    startProgram(centre.group, {
      flags: agentFlags(stateFolder, order),
      args: [join(ROOT, "agent/main.ts"), ...args, "--state", stateFolder, "--allow-root"],
      onLine: hear,
    });
  const enrolling = await start(["enroll", "--url", centre.gateway.url, "--token", joinToken]);
  const { success } = await enrolling.status;
  if (!success) throw new Error(`Cannot enrol ${name}:\n${enrolling.tail()}`);
  const process = await startRestarted({ name, start: () => start(["run"]), onDeath });
  stack.defer(() => process.end());
  const agentId = (await agentIdsOf(centre.client)).get(name) ?? "";
  return { agentId, name, kind: "real", capacity, process, stateFolder, running };
}

function follow(running: Set<string>, { event, lease }: AgentLine["said"]): void {
  if (event === "agent_started") running.clear();
  if (lease === undefined) return;
  if (event === "attempt_started") running.add(lease);
  if (event === "attempt_ended" || event === "lease_lost") running.delete(lease);
}

async function writePrivately(folder: string, name: string, value: unknown): Promise<void> {
  await Deno.writeTextFile(join(folder, name), JSON.stringify(value), { mode: 0o600 });
}

function agentFlags(stateFolder: string, { jumps }: Pick<RealAgentOrder, "jumps">): string[] {
  const reads = [stateFolder, join(ROOT, "agent"), join(ROOT, "shared")];
  return [
    "--no-prompt",
    "--allow-net",
    `--allow-read=${reads.join()}`,
    `--allow-write=${stateFolder}`,
    ...(jumps ? [`--preload=${new URL("jumping_clock.ts", import.meta.url).href}`] : []),
  ];
}

/** What is no JSON is told as it is: the last words of a process. */
function parseLine(line: string): AgentLine["said"] {
  try {
    return JSON.parse(line);
  } catch {
    return { event: "printed", text: line.slice(0, 500) };
  }
}

export interface ProtocolAgents {
  readonly agents: readonly AgentFacts[];
  readonly process: Restarted;
}

export interface ProtocolOrder {
  readonly seed: number;
  /** Of the process, from 1 on. */
  readonly number: number;
  readonly capacity: number;
  readonly agents: readonly { readonly name: string; readonly siteIds: readonly SiteId[] }[];
}

/** Agents have their keys by their numbers. */
const MOST_AGENTS = 100;

/** Enrols agents by hand, and starts the process that plays them. */
export async function addProtocolAgents(
  centre: Centre,
  stack: AsyncDisposableStack,
  { onDeath, ...order }: ProtocolOrder & Pick<StageOptions, "onDeath">,
): Promise<ProtocolAgents> {
  const { seed, capacity } = order;
  const processName = `protocol-${order.number}`;
  const publicUrl = centre.gateway.url;
  const drivers = await driverDigests();
  const agents: (AgentFacts & { number: number })[] = [];
  for (const [index, { name, siteIds }] of order.agents.entries()) {
    const number = order.number * MOST_AGENTS + index;
    const { joinToken } = await centre.client.call(createJoinToken, {
      body: { agentName: name, siteIds: [...siteIds] },
    });
    const agent = new ProtocolAgent({ publicUrl, drivers, number, sequence: 1, capacity });
    const agentId = await agent.enroll(joinToken);
    agents.push({ agentId, name, kind: "protocol", capacity, number });
  }
  let sequence = 0;
  const start = () => {
    const setup: ProtocolSetup = {
      ...{
        folder: centre.histories,
        file: `${processName}.jsonl`,
        seed,
        publicUrl,
        drivers,
        capacity,
      },
      sequence: ++sequence,
      agents: agents.map(({ number, agentId }) => ({ number, agentId })),
    };
    const program = join(import.meta.dirname ?? ".", "protocol_process.ts");
    return startProgram(centre.group, { flags: ["-A"], args: [program, JSON.stringify(setup)] });
  };
  const process = await startRestarted({ name: processName, start, onDeath });
  stack.defer(() => process.end());
  return { agents: agents.map(({ number: _, ...facts }) => facts), process };
}
