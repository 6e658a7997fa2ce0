/** The same loops for every queue that is asked for work and told of its end. */
import { setTimeout as delay } from "node:timers/promises";
import { CONNECTIONS, type Drain, type Drained, type Server } from "./contender.ts";
import { GroupWatch } from "./group_watch.ts";

/** How long whoever found nothing waits before it asks again. */
const POLL_MS = 5;

/** Jobs that were taken together. */
export interface Taken {
  readonly ids: readonly string[];
  /** Of each job, where there are groups. */
  readonly groups: readonly string[];
  /** Tells the queue that they are done. Whether it took that is counted in the end. */
  readonly complete: () => Promise<void>;
}

/** Asks for up to `batch` jobs, as one of sixteen workers. */
export type Take = (batch: number, worker: number) => Promise<Taken | undefined>;

/** Takes and completes until `jobs` are done. */
export async function drainBy(
  take: Take,
  { batch, jobs, workMs = 0, limit = Infinity }: Drain & { readonly limit?: number },
): Promise<Drained> {
  const claimMs: number[] = [];
  const watch = new GroupWatch(limit);
  let left = jobs;
  const startedAt = performance.now();
  await inParallel(async (worker) => {
    while (left > 0) {
      const askedAt = performance.now();
      const taken = await take(batch, worker);
      if (!taken) {
        await delay(POLL_MS);
        continue;
      }
      claimMs.push(performance.now() - askedAt);
      watch.taken(taken.groups);
      if (workMs > 0) await delay(workMs);
      watch.ending(taken.groups);
      await taken.complete();
      left -= taken.ids.length;
    }
  });
  return { milliseconds: performance.now() - startedAt, claimMs, violations: watch.violations };
}

/** Takes and completes what `order` puts in, until it is disposed. */
export function serveBy(
  take: Take,
  { batch, onDone, order }: {
    readonly batch: number;
    readonly onDone: (id: string) => void;
    readonly order: () => Promise<string>;
  },
): Server {
  let stopped = false;
  const working = inParallel(async (worker) => {
    while (!stopped) {
      const taken = await take(batch, worker);
      if (taken) await taken.complete();
      else await delay(POLL_MS);
      for (const id of taken?.ids ?? []) onDone(id);
    }
  });
  return {
    order,
    async [Symbol.asyncDispose]() {
      stopped = true;
      await working;
    },
  };
}

async function inParallel(work: (worker: number) => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: CONNECTIONS }, (_, worker) => work(worker)));
}
