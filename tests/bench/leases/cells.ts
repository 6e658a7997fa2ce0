/** What is measured of each queue. */
import { setTimeout as delay } from "node:timers/promises";
import type { ConnectedDatabase } from "../../../control-plane/database/connect.ts";
import { quantile } from "../agents/table.ts";
import { besideOldTransaction, walBytes } from "./bench_server.ts";
import type { Contender, Drain, Filling, OpenQueue } from "./contender.ts";

/** How much of everything. */
export interface Scale {
  readonly jobs: number;
  /** That wait while a part of them is taken. */
  readonly backlog: number;
  readonly groups: number;
  readonly rate: number;
  readonly rateSeconds: number;
}

/** The figures of one queue in one round of one cell. */
export interface Measured {
  readonly perSecond: number;
  /** Of write-ahead log; NaN where orders were part of what was measured. */
  readonly walBytesPerJob: number;
  /** From a claim's request to its answer, or, at a fixed rate, from an order to its acknowledged end. */
  readonly p99Ms: number;
  readonly violations: number;
}

export interface Cell {
  readonly name: string;
  readonly title: (scale: Scale) => string;
  readonly suits: (contender: Contender) => boolean;
  readonly run: (queue: OpenQueue, admin: ConnectedDatabase, scale: Scale) => Promise<Measured>;
}

const GROUP_LIMIT = 5;
const WORK_MS = 5;
const BATCH = 10;

export const CELLS: readonly Cell[] = [
  ...[1, 10, 50].map((batch): Cell => ({
    name: `burn-down-${batch}`,
    title: ({ jobs }) => `${number(jobs)} jobs, ${batch} at a time`,
    suits: ({ takesBatches }) => takesBatches || batch === 1,
    run: (queue, admin, { jobs }) =>
      burnDown(queue, admin, { filling: { jobs }, drain: { batch, jobs } }),
  })),
  {
    name: "fixed-rate",
    title: ({ rate }) => `${number(rate)} orders a second`,
    suits: () => true,
    run: (queue, _admin, scale) => atFixedRate(queue, scale),
  },
  {
    name: "backlog",
    title: ({ backlog }) => `${number(backlog)} jobs waiting`,
    suits: () => true,
    run: (queue, admin, { jobs, backlog }) =>
      burnDown(queue, admin, {
        filling: { jobs: backlog },
        drain: { batch: BATCH, jobs: Math.min(jobs, backlog / 2) },
      }),
  },
  {
    name: "not-due",
    title: () => "nine of ten not yet due",
    suits: () => true,
    run: (queue, admin, { jobs }) =>
      burnDown(queue, admin, {
        filling: { jobs, later: jobs * 0.9 },
        drain: { batch: BATCH, jobs: jobs * 0.1 },
      }),
  },
  {
    name: "old-transaction",
    title: () => "an old transaction held open",
    suits: () => true,
    run: (queue, admin, { jobs }) =>
      burnDown(queue, admin, { filling: { jobs }, drain: { batch: BATCH, jobs }, isHeld: true }),
  },
  {
    name: "groups",
    title: ({ groups }) => `${number(groups)} groups with limit ${GROUP_LIMIT}`,
    suits: ({ limitsGroups }) => limitsGroups,
    run: (queue, admin, { jobs, groups: count }) =>
      burnDown(queue, admin, {
        filling: { jobs, groups: { count, limit: GROUP_LIMIT } },
        drain: { batch: BATCH, jobs, workMs: WORK_MS },
      }),
  },
];

/** Takes jobs until so many are done, and makes sure that they are. */
async function burnDown(
  queue: OpenQueue,
  admin: ConnectedDatabase,
  { filling, drain, isHeld = false }: {
    readonly filling: Filling;
    readonly drain: Drain;
    readonly isHeld?: boolean;
  },
): Promise<Measured> {
  await queue.fill(filling);
  await admin.sql`vacuum analyze`;
  const before = await queue.countDone();
  const measure = async () => {
    const from = await walBytes(admin);
    const drained = await queue.drain(drain);
    return { ...drained, bytes: await walBytes(admin) - from };
  };
  const { milliseconds, bytes, claimMs, violations } = isHeld
    ? await besideOldTransaction(admin, measure)
    : await measure();
  const done = await queue.countDone() - before;
  // Workers that take several at a time may do a few more than they were asked for.
  if (done < drain.jobs) throw new Error(`Only ${done} of ${drain.jobs} jobs are done`);
  return {
    perSecond: done / milliseconds * 1_000,
    walBytesPerJob: bytes / done,
    p99Ms: claimMs.length > 0 ? quantile(claimMs, 0.99) : NaN,
    violations,
  };
}

/** Orders come by the clock, whatever became of those before them; each is timed from its order to its end. */
async function atFixedRate(
  queue: OpenQueue,
  { rate, rateSeconds }: Scale,
): Promise<Measured> {
  await queue.fill({ jobs: 0 });
  const orderedAt = new Map<string, number>();
  const doneAt = new Map<string, number>();
  const count = rate * rateSeconds;
  const startedAt = performance.now();
  {
    await using server = await queue.serve({
      batch: BATCH,
      onDone: (id) => doneAt.set(id, performance.now()),
    });
    const orders: Promise<void>[] = [];
    for (let number = 0; number < count; number++) {
      const at = startedAt + number * 1_000 / rate;
      const wait = at - performance.now();
      if (wait > 0) await delay(wait);
      orders.push(server.order().then((id) => void orderedAt.set(id, at)));
    }
    await Promise.all(orders);
    while (doneAt.size < count) await delay(5);
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  const ms = orderedAt.entries().map(([id, at]) => (doneAt.get(id) ?? Infinity) - at).toArray();
  const perSecond = count / seconds;
  return { perSecond, walBytesPerJob: NaN, p99Ms: quantile(ms, 0.99), violations: 0 };
}

function number(value: number): string {
  return value.toLocaleString("en");
}
