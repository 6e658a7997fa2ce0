/** graphile-worker, https://worker.graphile.org, whose own workers run a task that does nothing. */
import { EventEmitter } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { Logger, makeWorkerUtils, run, type WorkerEvents, type WorkerUtils } from "graphile-worker";
import { type ConnectedDatabase, databaseUrl } from "../../../control-plane/database/connect.ts";
import { CONNECTIONS, type Contender, type Filling, type OpenQueue, PAYLOAD } from "./contender.ts";

const TASK = "bench";
const JOBS_PER_INSERT = 2_000;
const LATER_MS = 86_400_000;
const POLL_MS = 5;
const PATIENCE_MS = 10_000;
/** As its page on performance has it. */
const BATCHING = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
const logger = new Logger(() => () => {});

/** `batching`: by its local queue, which acknowledges later than a job's end. Otherwise as it comes. */
export function graphileWorker({ batching }: { readonly batching: boolean }): Contender {
  return {
    name: batching ? "graphile-worker, local queue" : "graphile-worker, by default",
    promises: batching ? "no result kept, acknowledges late" : "no result kept",
    takesBatches: false,
    limitsGroups: false,
    open: (address, admin) => openWorker(databaseUrl(address), { admin, batching }),
  };
}

async function openWorker(
  connectionString: string,
  { admin, batching }: { readonly admin: ConnectedDatabase; readonly batching: boolean },
): Promise<OpenQueue> {
  const utils = await makeWorkerUtils({ connectionString, maxPoolSize: CONNECTIONS, logger });
  await utils.migrate();
  let filled = 0;
  const start = async (onDone: (id: string) => void) => {
    const events: WorkerEvents = new EventEmitter();
    events.on("job:complete", ({ job }) => onDone(job.id));
    return await run({
      connectionString,
      maxPoolSize: CONNECTIONS,
      concurrency: CONNECTIONS,
      noHandleSignals: true,
      taskList: { [TASK]: () => {} },
      logger,
      events,
      ...batching && { preset: { worker: BATCHING } },
    });
  };
  const countWaiting = async () => {
    const [row] = await admin.sql<{ count: number }[]>`
      select count(*)::int as count from graphile_worker._private_jobs`;
    return row?.count ?? 0;
  };
  return {
    fill: async (filling) => {
      filled += filling.jobs;
      await fill(utils, filling);
    },
    async drain({ jobs }) {
      const all = Promise.withResolvers<void>();
      let left = jobs;
      const startedAt = performance.now();
      const runner = await start(() => {
        if (--left === 0) all.resolve();
      });
      await all.promise;
      // It tells of an end before the database has acknowledged it.
      const patience = AbortSignal.timeout(PATIENCE_MS);
      while (!patience.aborted && await countWaiting() > filled - jobs) await delay(POLL_MS);
      await runner.stop();
      return { milliseconds: performance.now() - startedAt, claimMs: [], violations: 0 };
    },
    async serve({ onDone }) {
      const runner = await start(onDone);
      return {
        order: async () => {
          filled++;
          return (await utils.addJob(TASK, PAYLOAD)).id;
        },
        [Symbol.asyncDispose]: () => runner.stop(),
      };
    },
    countDone: async () => filled - await countWaiting(),
    [Symbol.asyncDispose]: async () => await utils.release(),
  };
}

async function fill(utils: WorkerUtils, { jobs, later = 0 }: Filling): Promise<void> {
  const runAt = new Date(Date.now() + LATER_MS);
  for (let from = 0; from < jobs; from += JOBS_PER_INSERT) {
    const count = Math.min(JOBS_PER_INSERT, jobs - from);
    await utils.addJobs(Array.from({ length: count }, (_, at) => ({
      identifier: TASK,
      payload: PAYLOAD,
      ...from + at < later && { runAt },
    })));
  }
}
