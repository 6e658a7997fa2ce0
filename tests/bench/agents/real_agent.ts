/** A real agent, as a process under its real permissions, against a farm of devices: its memory, and what its care costs. */
import { createJobs } from "@rookery/shared/api/jobs.ts";
import { createSite, updateSite } from "@rookery/shared/api/sites.ts";
import type { DeviceId } from "@rookery/shared/ids.ts";
import {
  connectDatabase,
  type DatabaseAddress,
  databaseUrl,
} from "../../../control-plane/database/connect.ts";
import { type FarmChild, startFarmChild } from "../../demo/farm_child.ts";
import { createDevices, type DemoDevice } from "../../demo/inventory.ts";
import { type CallApi, Installation } from "../../support/installation.ts";
import { addressOf, onServer } from "../../support/test_server.ts";
import { BARE_PLATFORMS, readBare } from "./bare_session.ts";
import { later } from "./sim_agent.ts";
import type { Stage } from "./stage.ts";
import { residentMb } from "./usage.ts";

const DATABASE = "rookery_bench_agent";
const AT_ONCE = 8;
const ROUNDS = 3;
const PATIENCE_MS = 90_000;

export interface RealAgent {
  readonly idleMb: number;
  /** The most that was seen while `sessions` ran at once. */
  readonly busyMb: number;
  readonly sessions: number;
  /** Milliseconds per backup, so many at a time: by the agent, all of the path, and by a bare client. */
  readonly agentMs: number;
  readonly bareMs: number;
}

interface Scene {
  readonly api: CallApi;
  readonly devices: readonly DemoDevice[];
  readonly farm: FarmChild;
  /** Runs a query on the installation's database and gives its only number. */
  count(query: string): Promise<number>;
  /** Why attempts failed, and what the agent said last. */
  tell(): Promise<string>;
}

export async function measureRealAgent(
  stage: Stage,
  { sessions, idleSeconds }: { sessions: number; idleSeconds: number },
): Promise<RealAgent> {
  await onServer(stage.address, (sql) => sql`create database ${sql(DATABASE)}`);
  const address = addressOf(stage.address, DATABASE);
  const farm = await startFarmChild(stage.group, { devices: sessions, seed: 1, faults: [] });
  const installation = await Installation.start(stage.group, { databaseUrl: databaseUrl(address) });
  await installation.setUpAdministrator();
  const { api } = installation;
  const site = await api(createSite, { body: { name: "bench", maxLive: AT_ONCE } });
  const devices = await createDevices(api, [{ siteId: site.id, name: "bench" }], farm);
  const order = { name: "bench", siteIds: [site.id], capacity: Math.min(256, sessions + 10) };
  const agent = await installation.addAgent(order);
  await later(idleSeconds * 1_000);
  const idleMb = await residentMb(agent.child().pid);
  // Kept open: a connection for each look would be a good part of what is measured.
  await using database = connectDatabase(address, { poolSize: 1 });
  const count = async (query: string) => Number((await database.sql.unsafe(query))[0]?.count);
  const tell = async () => `${await readFailures(address)}; ${agent.child().tail()}`;
  const scene = { api, devices, farm, count, tell };
  const spoken = devices.filter(({ member }) => member.platform in BARE_PLATFORMS);
  const agentMs = await best(() => backUp(scene, spoken)) / spoken.length;
  const bareMs = await best(() => readAll(spoken)) / spoken.length;
  await backUp(scene, devices);
  await api(updateSite, { params: { siteId: site.id }, body: { maxLive: sessions } });
  const busyMb = await holdAll(scene, agent.child().pid);
  agent.child().kill("SIGKILL");
  return { idleMb, busyMb, sessions, agentMs, bareMs };
}

async function readFailures(address: DatabaseAddress): Promise<string> {
  const rows = await onServer(address, (sql) =>
    sql<{ text: string }[]>`
      select distinct concat_ws(' ', outcome, failure_code, failure_detail) as text from attempts
      where outcome <> 'completed'`);
  return rows.map(({ text }) => text).join(", ");
}

/** The first round pins keys and warms up; of the others the best one counts, for both sides alike. */
async function best(round: () => Promise<number>): Promise<number> {
  const rounds: number[] = [];
  for (let n = 0; n <= ROUNDS; n++) rounds.push(await round());
  return Math.min(...rounds.slice(1));
}

/** From the order of the backups until the last result was accepted. */
async function backUp(
  { api, count, tell }: Scene,
  devices: readonly DemoDevice[],
): Promise<number> {
  const startedAt = performance.now();
  await order(api, devices.map(({ deviceId }) => deviceId));
  const open = () => count("select count(*) from open_jobs");
  await until(async () => await open() === 0, "every job ended").catch(async (cause) => {
    throw new Error(`${await open()} of ${devices.length} jobs did not end: ${await tell()}`, {
      cause,
    });
  });
  return performance.now() - startedAt;
}

async function readAll(devices: readonly DemoDevice[]): Promise<number> {
  const startedAt = performance.now();
  const waiting = [...devices];
  const work = async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) await readBare(next.member);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return performance.now() - startedAt;
}

/** Every device stops in the middle of its configuration, so that all sessions stay open at once. */
async function holdAll({ api, devices, farm, count }: Scene, pid: number): Promise<number> {
  for (const { member } of devices) await farm.setFault(member.port, "stall_mid_configuration");
  await order(api, devices.map(({ deviceId }) => deviceId));
  let most = 0;
  let running = 0;
  const look = async () => {
    running = Math.max(running, await count("select count(*) from leases where running"));
    most = Math.max(most, await residentMb(pid));
    return running === devices.length;
  };
  await until(look, `${devices.length} sessions ran at once`);
  for (let n = 0; n < 20; n++, await later(250)) await look();
  return most;
}

async function order(api: CallApi, deviceIds: readonly DeviceId[]): Promise<void> {
  await api(createJobs, { body: { deviceIds: [...deviceIds] } });
}

async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  while (!await isSo()) {
    if (performance.now() > giveUpAt) throw new Error(`Waited in vain until ${what}`);
    await later(20);
  }
}
