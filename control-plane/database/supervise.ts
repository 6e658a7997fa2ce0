import { setTimeout as delay } from "node:timers/promises";
import { reasonOf, settlePredecessor } from "./data_folder.ts";
import { type Postmaster, startPostmaster } from "./postmaster.ts";

/** All that is needed to run `postgres`, again and again. */
export interface Run {
  readonly cluster: string;
  readonly socketDir: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Makes the socket's folder and what PostgreSQL needs in it; changes nothing where it is there. */
  readonly restoreSocketDir: () => Promise<void>;
}

/** Whom to tell. */
export interface SuperviseOptions {
  /** Ends the first start only; later `stop()` does. */
  readonly signal?: AbortSignal;
  readonly onRestart?: (reason: string) => void;
  readonly log?: (line: string) => void;
}

const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 10_000;
/** After this long a death is a new story, and the back-off starts anew. */
const SETTLED_MS = 60_000;
/** Starts PostgreSQL and keeps it running until `stop()`. */
export async function supervise(
  run: Run,
  options: SuperviseOptions,
): Promise<{ readonly stop: () => Promise<void> }> {
  const log = options.log ?? (() => {});
  const stopping = new AbortController();
  let current = await start(run, { log, signal: options.signal });
  const watching = (async () => {
    for (let startedAt = performance.now(), deaths = 0;; startedAt = performance.now()) {
      const reason = await current.ended;
      if (stopping.signal.aborted) return;
      deaths = performance.now() - startedAt > SETTLED_MS ? 1 : deaths + 1;
      log(`PostgreSQL ended and is started again: ${reason}`);
      const next = await startAgain(run, { log, signal: stopping.signal, deaths });
      if (!next) return;
      current = next;
      options.onRestart?.(reason);
    }
  })();
  const stop = async () => {
    stopping.abort();
    await current.stop();
    await watching;
  };
  return { stop };
}

interface StartOptions {
  readonly log: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

async function start(run: Run, { log, signal }: StartOptions): Promise<Postmaster> {
  for (let tries = 1;; tries++) {
    try {
      await settlePredecessor(run.cluster, { signal });
      await run.restoreSocketDir();
      return await startPostmaster({ ...run, log, signal });
    } catch (error) {
      if (signal?.aborted || tries === 20 || !isDying(error)) {
        const message = `Cannot start PostgreSQL in ${run.cluster}: ${reasonOf(error)}`;
        throw signal?.aborted ? signal.reason : new Error(message, { cause: error });
      }
      await delay(100, undefined, { signal });
    }
  }
}

/** After a kill -9 of the server its sessions need a moment to notice; until then its memory is still in use. */
function isDying(error: unknown): boolean {
  return /pre-existing shared memory block|is another postmaster/i.test(reasonOf(error));
}

/** Tries until PostgreSQL runs; undefined when stopped meanwhile. */
async function startAgain(
  run: Run,
  options: StartOptions & { readonly signal: AbortSignal; readonly deaths: number },
): Promise<Postmaster | undefined> {
  const { log, signal } = options;
  for (let tries = options.deaths;; tries++) {
    try {
      await delay(Math.min(FIRST_BACKOFF_MS * 2 ** (tries - 1), LONGEST_BACKOFF_MS), undefined, {
        signal,
      });
      return await start(run, options);
    } catch (error) {
      if (signal.aborted) return undefined;
      log(reasonOf(error));
    }
  }
}
