/** The two loads of simulated agents, and what each of them cost. */
import type { Kysely } from "kysely";
import type { SiteId } from "@rookery/shared/ids.ts";
import { connectDatabase } from "../../../control-plane/database/connect.ts";
import type { Database } from "../../../control-plane/database/schema.ts";
import type { Load } from "./load.ts";
import type { Driven } from "./orders.ts";
import { enqueueAll } from "./populate.ts";
import { later } from "./sim_agent.ts";
import { readStatements, resetStatements, type StatementShare } from "./statements.ts";
import type { Stage } from "./stage.ts";

/** CPU over a stretch of time, in cores: 1 is one core, all of the time. */
export interface Cores {
  readonly replicas: readonly number[];
  readonly controlPlane: number;
  readonly database: number;
  readonly generator: number;
}

export interface Stretch<Result> {
  readonly result: Result;
  readonly seconds: number;
  readonly cores: Cores;
}

/** Runs something and says what it cost whom. */
export async function measured<Result>(
  { stage, load }: { stage: Stage; load: Load },
  run: () => Promise<Result>,
): Promise<Stretch<Result>> {
  const startedAt = performance.now();
  const before = { ...await stage.cpuUsed(), generator: await load.cpuMs() };
  const result = await run();
  const after = { ...await stage.cpuUsed(), generator: await load.cpuMs() };
  const ms = performance.now() - startedAt;
  const replicas = after.replicas.map((used, n) => (used - (before.replicas[n] ?? 0)) / ms);
  return {
    result,
    seconds: ms / 1_000,
    cores: {
      replicas,
      controlPlane: replicas.reduce((sum, each) => sum + each, 0),
      database: (after.database - before.database) / ms,
      generator: (after.generator - before.generator) / ms,
    },
  };
}

export interface Idle {
  readonly requestsPerSecond: number;
  readonly residentMb: readonly number[];
  readonly connections: number;
  readonly problems: Record<string, number>;
}

/** All agents wait: held claims, heartbeats at the server's interval. */
export async function idle(
  on: { stage: Stage; load: Load },
  { settleSeconds, seconds }: { settleSeconds: number; seconds: number },
): Promise<Stretch<Idle>> {
  const { stage, load } = on;
  await load.ask({ order: "idle" });
  await later(settleSeconds * 1_000);
  const before = await load.requests();
  const stretch = await measured(on, () => later(seconds * 1_000));
  const after = await load.requests();
  const result = {
    requestsPerSecond: (after.requests - before.requests) / stretch.seconds,
    residentMb: await stage.residentMb(),
    connections: await stage.connections(),
    problems: after.problems,
  };
  await load.ask({ order: "rest" });
  return { ...stretch, result };
}

export interface Busy {
  readonly closed: Stretch<Driven>;
  readonly paced: Stretch<Driven>;
  /** What the database was asked during the first of them. */
  readonly statements: readonly StatementShare[];
}

/** Some agents work: as fast as everything together can, then at a fixed rate. */
export async function busy(
  on: { stage: Stage; load: Load },
  { siteIds, processes, seconds, perSecond }: {
    siteIds: readonly SiteId[];
    processes: number;
    seconds: number;
    perSecond: number;
  },
): Promise<Busy> {
  const { stage, load } = on;
  const agents = Math.floor(siteIds.length / processes);
  await withDatabase(stage, (db) => enqueueAll(db, siteIds));
  const drive = { order: "drive", agents, atOnce: 16, batch: 10, seconds } as const;
  await resetStatements(stage.address);
  const closed = await measured(on, () => load.drive(drive));
  const statements = await readStatements(stage.address);
  await withDatabase(stage, (db) => enqueueAll(db, siteIds));
  const pace = { order: "pace", agents, perSecond: perSecond / processes, seconds } as const;
  const paced = await measured(on, () => load.drive(pace));
  return { closed, paced, statements };
}

/** Our own connections are open only while they are used, so that they are not counted among the replicas'. */
export async function withDatabase<Result>(
  { address }: Stage,
  run: (db: Kysely<Database>) => Promise<Result>,
): Promise<Result> {
  await using database = connectDatabase(address, { poolSize: 10 });
  return await run(database.db);
}
