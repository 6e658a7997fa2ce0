import { ProblemError } from "@rookery/shared/problem.ts";
import { boundedMs, type Clock, jitteredMs } from "./clock.ts";
import { isDismissal } from "./control_plane.ts";
import { type Deliverer, finish, logFailure } from "./deliver.ts";
import type { HeartbeatKick } from "./heartbeat.ts";
import { sealedParcel } from "./parcel.ts";
import { fateOf, sendParcel } from "./send_parcel.ts";
import { SpoolDamagedError, type SpoolEntry, SpoolReadError } from "./spool_entry.ts";

/** Few: what is read now must get through beside what waits. */
const REPLAYS = 2;
/** While nobody answers, everything waits; a control plane that is back is asked at once (see `kick`). */
const AWAY = { baseMs: 1_000, capMs: 30_000 };
/** An entry that alone is not taken waits for longer and longer, so that it does not hold up the others. */
const ENTRY = { baseMs: 5_000, capMs: 1_800_000 };
const RETRY_AFTER_SECONDS = { min: 0, max: 600 };

export interface ReplayOptions extends Deliverer {
  /** Ends a pause early: the control plane answers again. */
  readonly kick: HeartbeatKick;
  /** Told when the control plane sent this agent away, which ends the replay; what waits stays on disk. */
  readonly onDismissal: (problem: ProblemError) => void;
  readonly signal: AbortSignal;
}

/** Delivers what waits in the spool, oldest first, until `signal`. */
export async function runReplay(options: ReplayOptions): Promise<void> {
  const pace: Pace = { notBeforeMs: 0, failures: 0, tries: new Map() };
  await Promise.all(Array.from({ length: REPLAYS }, () => replayInTurn(options, pace)));
}

interface Pace {
  /** Nothing is sent before. */
  notBeforeMs: number;
  /** Failures in a row that say something about the way, not about an entry. */
  failures: number;
  readonly tries: Map<string, number>;
}

async function replayInTurn(options: ReplayOptions, pace: Pace): Promise<void> {
  const { spool, clock, signal } = options;
  while (!signal.aborted) {
    const now = clock.now();
    const changed = spool.changed();
    if (pace.notBeforeMs > now) {
      // Waited for here alone: what waits for a kick all the time would gather for as long as none comes.
      const back = options.kick.wait().then(() => void (pace.notBeforeMs = 0));
      await firstOf(back, { clock, signal, ms: pace.notBeforeMs - now });
      continue;
    }
    const entry = spool.takeOldest(now);
    const ms = Math.max(10, (spool.nextDueAtMs() ?? Infinity) - now);
    if (entry) await replay(entry, options, pace);
    else await firstOf(changed, { clock, signal, ms });
  }
}

async function firstOf(
  news: Promise<void>,
  { clock, signal, ms }: { clock: Clock; signal: AbortSignal; ms: number },
): Promise<void> {
  const over = new AbortController();
  const pause = clock.sleep(ms, { signal: AbortSignal.any([signal, over.signal]) });
  await Promise.race([news, pause]);
  over.abort();
}

async function replay(entry: SpoolEntry, options: ReplayOptions, pace: Pace): Promise<void> {
  const { spool, log, signal } = options;
  try {
    const contents = await spool.contents(entry);
    const sender = { ...options, stopSignal: signal };
    await sendParcel(sealedParcel(spool, entry, contents), sender);
    await settle(entry, options, pace, false);
  } catch (error) {
    if (signal.aborted) return spool.handOver(entry);
    if (isDismissal(error)) return options.onDismissal(error);
    const fate = error instanceof SpoolDamagedError ? "refused" : fateOf(error);
    logFailure(error, { leaseId: entry.leaseId, fate, log });
    if (fate !== "again") return await settle(entry, options, pace, fate === "refused");
    putBack(entry, error, options, pace);
  }
}

async function settle(
  entry: SpoolEntry,
  options: ReplayOptions,
  pace: Pace,
  refused: boolean,
): Promise<void> {
  pace.failures = 0;
  pace.tries.delete(entry.name);
  await finish(entry, options, { refused });
}

function putBack(entry: SpoolEntry, error: unknown, options: ReplayOptions, pace: Pace): void {
  const now = options.clock.now();
  if (!isAboutEntry(error)) {
    const asked = error instanceof ProblemError ? error.retryAfterSeconds : undefined;
    const askedMs = asked === undefined ? 0 : boundedMs(asked, RETRY_AFTER_SECONDS);
    pace.notBeforeMs = now + askedMs + 100 + jitteredMs(pace.failures++, AWAY);
    return options.spool.handOver(entry);
  }
  const tries = pace.tries.get(entry.name) ?? 0;
  pace.tries.set(entry.name, tries + 1);
  options.spool.handOver(entry, { dueAtMs: now + 1_000 + jitteredMs(tries, ENTRY) });
}

/** The control plane answered, and failed at this entry: others may do better. */
function isAboutEntry(error: unknown): boolean {
  if (error instanceof SpoolReadError) return true;
  if (!(error instanceof ProblemError)) return false;
  return !["overloaded", "too-many-requests", "session-required", "invalid-proof"]
    .includes(error.type);
}
