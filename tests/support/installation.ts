/** A whole Rookery as its users run it: control plane, agents and their state folders, each its own process. */
import { createServer } from "node:net";
import { join } from "node:path";
import { call } from "@rookery/shared/client.ts";
import { createJoinToken, listAgents } from "@rookery/shared/api/agents.ts";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { setUp } from "@rookery/shared/api/setup.ts";
import type { AnyEndpoint, CallInput, CallReply } from "@rookery/shared/endpoint.ts";
import type { AgentId, SiteId } from "@rookery/shared/ids.ts";
import { plantCluster } from "./cluster_seed.ts";
import type { Child, ProcessGroup } from "./processes.ts";

const START_MS = 60_000;
const ROOT = join(import.meta.dirname ?? ".", "..", "..");
/** Cloud metadata: a second wall beside the agent's own policy. */
const DENY_NET = "169.254.169.254,[fd00:ec2::254]";

/** Calls the API as the administrator. */
export type CallApi = <E extends AnyEndpoint>(
  endpoint: E,
  input: CallInput<E>,
) => Promise<CallReply<E>>;

export interface AgentProcess {
  readonly agentId: AgentId;
  readonly stateFolder: string;
  child(): Child;
  /** Starts it again after it ended. */
  start(): Promise<void>;
}

export interface AgentOrder {
  readonly name: string;
  readonly siteIds: readonly SiteId[];
  readonly capacity: number;
  /** Flags of `deno run` beside its own, such as a module that is preloaded. */
  readonly denoFlags?: readonly string[];
}

interface AgentStart {
  readonly stateFolder: string;
  readonly denoFlags: readonly string[];
}

/** One installation in a process group; everything it made is gone when the group is. */
export class Installation {
  readonly url: string;
  readonly dataFolder: string;
  readonly #group: ProcessGroup;
  readonly #env: Readonly<Record<string, string>>;
  readonly #logs: string[] = [];
  #controlPlane: Child | undefined;
  #setupLink: string | undefined;
  #secret = "";

  private constructor(group: ProcessGroup, port: number, databaseUrl: string | undefined) {
    this.#group = group;
    this.url = `http://127.0.0.1:${port}`;
    this.dataFolder = join(group.folder, "data");
    this.#env = {
      ROOKERY_DATA: this.dataFolder,
      ROOKERY_LISTEN: `127.0.0.1:${port}`,
      ROOKERY_PUBLIC_URL: this.url,
      DATABASE_URL: databaseUrl ?? "",
    };
  }

  /** Starts a control plane on a free port and makes its administrator by the setup link it printed. */
  static async start(
    group: ProcessGroup,
    options: { databaseUrl?: string } = {},
  ): Promise<Installation> {
    const installation = new Installation(group, await freePort(), options.databaseUrl);
    if (options.databaseUrl === undefined) await plantCluster(installation.dataFolder);
    await installation.startControlPlane();
    return installation;
  }

  /** The one-time link that the control plane printed at its first start. */
  get setupLink(): string {
    if (this.#setupLink === undefined) throw new Error("The control plane printed no setup link");
    return this.#setupLink;
  }

  get controlPlane(): Child {
    if (!this.#controlPlane) throw new Error("The control plane is not started");
    return this.#controlPlane;
  }

  /** Everything that control plane and agents printed. */
  get logs(): string {
    return this.#logs.join("\n");
  }

  async startControlPlane(): Promise<void> {
    const ready = Promise.withResolvers<void>();
    const child = await this.#group.start({
      command: Deno.execPath(),
      args: ["run", "-A", "--cached-only", join(ROOT, "control-plane/main.ts")],
      env: this.#env,
      onLine: (line) => {
        // The link is a secret that is meant to be printed once; it is kept out of what tests search.
        const link = /https?:\S+\/setup#\S+/.exec(line)?.[0];
        if (link) this.#setupLink = link;
        else this.#logs.push(line);
        if (line.includes("Rookery listens at")) ready.resolve();
      },
    });
    this.#controlPlane = child;
    await within(ready.promise, child, "the control plane");
  }

  /** Makes the administrator through the setup link, and an API token to go on with. */
  async setUpAdministrator(): Promise<void> {
    const token = new URL(this.setupLink).hash.slice(1);
    const password = crypto.randomUUID();
    let cookie = "";
    const send = async (request: Request) => {
      const response = await fetch(request);
      cookie ||= response.headers.get("set-cookie")?.split(";")[0] ?? "";
      return response;
    };
    await call(send, this.url, setUp, {
      body: { token, username: "admin", password },
    }, { headers: { origin: this.url } });
    const { secret } = await call(fetch, this.url, createApiToken, {
      body: { name: "installation", expiresInDays: 1 },
    }, { headers: { cookie, origin: this.url } });
    this.#secret = secret;
  }

  /** Makes a one-time link that sets a new password, as `deno task admin:recover` does. */
  async recoveryLink(username = "admin"): Promise<string> {
    let link: string | undefined;
    const child = await this.#group.start({
      command: Deno.execPath(),
      args: ["run", "-A", "--cached-only", join(ROOT, "control-plane/admin_recover.ts"), username],
      env: this.#env,
      onLine: (line) => link ??= /https?:\S+\/setup#\S+/.exec(line)?.[0],
    });
    await child.status;
    if (link === undefined) throw new Error(`Cannot make a link:\n${child.tail()}`);
    return link;
  }

  readonly api: CallApi = (endpoint, input) =>
    call(fetch, this.url, endpoint, input, {
      headers: { authorization: `Bearer ${this.#secret}` },
      signal: AbortSignal.timeout(30_000),
    });

  /** Enrols an agent with a fresh join token and starts it under the permissions it has in production. */
  async addAgent(order: AgentOrder): Promise<AgentProcess> {
    const { joinToken } = await this.api(createJoinToken, {
      body: { agentName: order.name, siteIds: [...order.siteIds] },
    });
    const stateFolder = join(this.#group.folder, `agent-${order.name}`);
    await Deno.mkdir(stateFolder, { mode: 0o700 });
    // The devices of a demo and of tests live on this machine, where a real agent refuses to look.
    const settings = { capacity: order.capacity, policy: { networks: ["127.0.0.0/8"] } };
    await Deno.writeTextFile(join(stateFolder, "settings.json"), JSON.stringify(settings));
    const agent: AgentStart = { stateFolder, denoFlags: order.denoFlags ?? [] };
    const enrolling = await this.#startAgent(agent, [
      "enroll",
      "--url",
      this.url,
      "--token",
      joinToken,
    ]);
    const { success } = await enrolling.status;
    if (!success) throw new Error(`Cannot enrol ${order.name}:\n${enrolling.tail()}`);
    let child = await this.#startAgent(agent, ["run"]);
    const start = async () => {
      child = await this.#startAgent(agent, ["run"]);
    };
    const agentId = await this.#agentIdOf(order.name);
    return { agentId, stateFolder, child: () => child, start };
  }

  #startAgent(
    { stateFolder, denoFlags }: AgentStart,
    args: readonly string[],
  ): Promise<Child> {
    return this.#group.start({
      command: Deno.execPath(),
      args: [
        "run",
        "--no-prompt",
        "--cached-only",
        "--allow-net",
        `--deny-net=${DENY_NET}`,
        // Its own sources too: session threads are loaded from them.
        `--allow-read=${[stateFolder, join(ROOT, "agent"), join(ROOT, "shared")].join()}`,
        `--allow-write=${stateFolder}`,
        ...denoFlags,
        join(ROOT, "agent/main.ts"),
        ...args,
        "--state",
        stateFolder,
        // Tests and the demo may run as root; their agents have nothing of it but the user.
        "--allow-root",
      ],
      onLine: (line) => this.#logs.push(line),
    });
  }

  async #agentIdOf(name: string): Promise<AgentId> {
    const { items } = await this.api(listAgents, { query: { limit: 500 } });
    const agent = items.find((item) => item.name === name);
    if (!agent) throw new Error(`There is no agent ${name}`);
    return agent.id;
  }
}

async function within(ready: Promise<void>, child: Child, what: string): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`too slow`)), START_MS);
  const died = child.status.then(({ code }) => {
    throw new Error(`it ended with code ${code}`);
  });
  try {
    await Promise.race([ready, died, late.promise]);
  } catch (cause) {
    throw new Error(`Cannot start ${what}:\n${child.tail()}`, { cause });
  } finally {
    clearTimeout(timer);
    died.catch(() => {});
  }
}

/** A port that is free now. Agents must find the control plane at the same address after its restart. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("Cannot find a free port");
  return address.port;
}
