import type { LeaseId } from "@rookery/shared/ids.ts";
import { type Clock, jitteredMs } from "./clock.ts";
import { type ControlPlane, isDismissal } from "./control_plane.ts";
import type { Upload } from "./jobs/mod.ts";
import { errorText, type Log } from "./log.ts";
import { clearParcel } from "./parcel.ts";
import { retryAfterMs } from "./retry_after.ts";
import { fateOf, sendParcel } from "./send_parcel.ts";
import type { Spool } from "./spool.ts";
import type { SpoolEntry } from "./spool_entry.ts";

const RETRY = { baseMs: 1_000, capMs: 30_000 };
const RETRY_AFTER_SECONDS = { min: 0, max: 300 };
/** So often a result is told from memory; then it is one of those that wait in the spool. */
const DIRECT_TRIES = 3;

export interface Deliverer {
  readonly controlPlane: ControlPlane;
  readonly spool: Spool;
  readonly clock: Clock;
  readonly log: Log;
  /** Aborted when the agent must end at once. */
  readonly stopSignal: AbortSignal;
}

export interface Delivery {
  readonly leaseId: LeaseId;
  readonly result: string;
  readonly uploads: readonly Upload[];
}

/**
 * Keeps a finished result in the spool, then tells it from memory. When that does not succeed soon, the spool has it, and
 * `runReplay` goes on. A result that the spool could not take stays here until it is told or kept.
 */
export async function deliver(delivery: Delivery, by: Deliverer): Promise<void> {
  const { leaseId } = delivery;
  const parcel = clearParcel(delivery);
  let entry = await keep(delivery, by);
  for (let tries = 1; !by.stopSignal.aborted; tries++) {
    try {
      await sendParcel(parcel, by);
      return await finish(entry, by, { refused: false });
    } catch (error) {
      if (isDismissal(error)) break;
      const fate = fateOf(error);
      logFailure(error, { leaseId, fate, log: by.log });
      if (fate !== "again") return await finish(entry, by, { refused: fate === "refused" });
      entry ??= await keep(delivery, by);
      if (entry && tries >= DIRECT_TRIES) break;
      const wait = retryAfterMs(error, RETRY_AFTER_SECONDS) ?? 200;
      await by.clock.sleep(wait + jitteredMs(tries, RETRY), { signal: by.stopSignal });
    }
  }
  if (!entry) return by.log("error", "result_dropped", { lease: leaseId });
  by.log("info", "result_spooled", { lease: leaseId });
  by.spool.handOver(entry);
}

async function keep(delivery: Delivery, by: Deliverer): Promise<SpoolEntry | undefined> {
  try {
    return await by.spool.put(delivery);
  } catch (error) {
    const reason = errorText(error);
    by.log("error", "spool_failed", { lease: delivery.leaseId, reason });
    return undefined;
  }
}

/** Takes an entry out of the spool: it has its final answer. */
export async function finish(
  entry: SpoolEntry | undefined,
  { spool, log }: Pick<Deliverer, "spool" | "log">,
  { refused }: { refused: boolean },
): Promise<void> {
  if (!entry) return;
  try {
    await (refused ? spool.setAside(entry) : spool.remove(entry));
  } catch (error) {
    // It is told again after a restart and gets the same answer.
    log("warn", "spool_failed", { lease: entry.leaseId, reason: errorText(error) });
  }
  await spool.check();
}

/** One line for a result that was not taken, and what becomes of it. */
export function logFailure(
  error: unknown,
  { leaseId, fate, log }: { leaseId: LeaseId; fate: ReturnType<typeof fateOf>; log: Log },
): void {
  const [level, event] = fate === "again"
    ? ["warn", "result_delayed"] as const
    : ["error", "result_refused"] as const;
  log(level, event, { lease: leaseId, reason: errorText(error) });
}
