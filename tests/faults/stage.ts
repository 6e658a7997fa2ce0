/** Everything that faults are done to: a database, two replicas behind a gateway, agents of both kinds, and a farm. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { listAgents } from "@rookery/shared/api/agents.ts";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { setUp } from "@rookery/shared/api/setup.ts";
import { call } from "@rookery/shared/client.ts";
import { databaseUrl } from "../../control-plane/database/connect.ts";
import {
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from "../../control-plane/database/embedded.ts";
import { makeRandom } from "../support/farm/random.ts";
import { freePort } from "../support/free_port.ts";
import type { ProcessGroup } from "../support/processes.ts";
import { type Client, makeClient } from "./client.ts";
import { Gateway } from "./gateway.ts";
import { type ClientLine, openTeller, type WireLine } from "./history.ts";
import { type Restarted, ROOT, startProgram, startRestarted } from "./processes.ts";

export interface StageOptions {
  readonly seed: number;
  /** Where the histories go. */
  readonly histories: string;
  readonly onDeath: (name: string, tail: string) => void;
}

/** Control plane, database and the way to them; agents and devices come later. */
export interface Centre {
  readonly group: ProcessGroup;
  readonly histories: string;
  readonly gateway: Gateway;
  readonly postgres: EmbeddedPostgres;
  readonly dataDir: string;
  readonly replicas: readonly Restarted[];
  readonly client: Client;
}

const REPLICAS = ["a", "b"] as const;
const START_MS = 60_000;

export async function openCentre(
  group: ProcessGroup,
  stack: AsyncDisposableStack,
  { seed, histories, onDeath }: StageOptions,
): Promise<Centre> {
  const dataDir = join(group.folder, "database");
  const postgres = stack.use(await startEmbeddedPostgres({ dataDir }));
  const wire = stack.use(openTeller<WireLine>(histories, "wire.jsonl"));
  const gateway = stack.use(await Gateway.open({ random: makeRandom(seed + 1), wire }));
  const backends = REPLICAS.map((name) => ({ name, port: freePort() }));
  const replicas: Restarted[] = [];
  let secret = "";
  for (const { name, port } of backends) {
    const log = join(histories, `replica-${name}.log`);
    const start = () =>
      startProgram(group, {
        flags: ["-A"],
        args: [join(ROOT, "control-plane/main.ts")],
        log,
        env: {
          DATABASE_URL: databaseUrl(postgres.connection),
          ROOKERY_DATA: join(group.folder, `data-${name}`),
          ROOKERY_KEYS: join(group.folder, "keys.json"),
          ROOKERY_LISTEN: `127.0.0.1:${port}`,
          ROOKERY_PUBLIC_URL: gateway.url,
        },
      });
    const readyUrl = `http://127.0.0.1:${port}/readyz`;
    const replica = await startRestarted({ name: `replica-${name}`, start, readyUrl, onDeath });
    stack.defer(() => replica.end());
    replicas.push(replica);
    // One after the other: the first one makes the keys and the tables that they share.
    await untilReady(replica);
    gateway.balance(backends.slice(0, replicas.length));
    // Each start prints a new link as long as there is no administrator.
    secret ||= await setUpAdministrator(gateway.url, log);
  }
  const history = stack.use(openTeller<ClientLine>(histories, "client.jsonl"));
  const client = makeClient(gateway.url, { secret, history });
  return { group, histories, gateway, postgres, dataDir, replicas, client };
}

async function untilReady(replica: Restarted): Promise<void> {
  const giveUpAt = performance.now() + START_MS;
  while (!await replica.isReady()) {
    if (performance.now() > giveUpAt) throw new Error("The control plane did not start");
    await delay(100);
  }
}

/** Takes the one-time link out of the log, uses it up, and gives an API token. */
async function setUpAdministrator(url: string, log: string): Promise<string> {
  const link = await findLink(log);
  const token = new URL(link).hash.slice(1);
  let cookie = "";
  const send = async (request: Request) => {
    const response = await fetch(request);
    cookie ||= response.headers.get("set-cookie")?.split(";")[0] ?? "";
    return response;
  };
  const body = { token, username: "admin", password: crypto.randomUUID() };
  await call(send, url, setUp, { body }, { headers: { origin: url } });
  const { secret } = await call(fetch, url, createApiToken, {
    body: { name: "faults", expiresInDays: 1 },
  }, { headers: { cookie, origin: url } });
  return secret;
}

/** It is printed a moment after the replica is ready. */
async function findLink(log: string): Promise<string> {
  const giveUpAt = performance.now() + START_MS;
  while (performance.now() < giveUpAt) {
    const link = /https?:\S+\/setup#\S+/.exec(await Deno.readTextFile(log))?.[0];
    if (link) return link;
    await delay(50);
  }
  throw new Error("The control plane printed no setup link");
}

/** Agents by their names. */
export async function agentIdsOf(client: Client): Promise<ReadonlyMap<string, string>> {
  const { items } = await client.call(listAgents, { query: { limit: 500 } });
  return new Map(items.map(({ name, id }) => [name, id]));
}
