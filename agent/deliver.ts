import { hasBlob, putBlob, reportResult } from "@rookery/shared/api/agent_protocol.ts";
import type { LeaseId, Sha256 } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { type Clock, jitteredMs } from "./clock.ts";
import type { ControlPlane } from "./control_plane.ts";
import type { Upload } from "./jobs/mod.ts";
import { errorText, type Log } from "./log.ts";

const RETRY = { baseMs: 1_000, capMs: 30_000 };
const REQUEST_TIMEOUT_MS = 60_000;
/** The slowest line that the control plane has patience with. */
const MIN_BYTES_PER_SECOND = 2_048;
/** A result is kept in memory and tried for this long; it is welcome late while nobody else ran the job. */
const GIVE_UP_MS = 3_600_000;

export interface Deliverer {
  readonly controlPlane: ControlPlane;
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

/** Uploads what the control plane does not have, then reports; tries again until it is answered. */
export async function deliver(delivery: Delivery, by: Deliverer): Promise<void> {
  const startedAt = by.clock.now();
  for (let tries = 0; !by.stopSignal.aborted; tries++) {
    try {
      return await deliverOnce(delivery, by);
    } catch (error) {
      const final = isFinal(error) || by.clock.now() - startedAt > GIVE_UP_MS;
      by.log(final ? "error" : "warn", final ? "result_refused" : "result_delayed", {
        lease: delivery.leaseId,
        reason: errorText(error),
      });
      if (final) return;
      await by.clock.sleep(200 + jitteredMs(tries, RETRY), { signal: by.stopSignal });
    }
  }
  by.log("error", "result_dropped", { lease: delivery.leaseId });
}

async function deliverOnce({ leaseId, result, uploads }: Delivery, by: Deliverer): Promise<void> {
  const within = (bytes: number) => {
    const ms = REQUEST_TIMEOUT_MS + bytes / MIN_BYTES_PER_SECOND * 1_000;
    return AbortSignal.any([by.stopSignal, AbortSignal.timeout(ms)]);
  };
  for (const { sha256, bytes } of uploads) {
    const params = { leaseId, sha256: sha256 as Sha256 };
    if (await alreadyThere(params, by, within(0))) continue;
    await by.controlPlane.call(putBlob, { params, body: bytes }, { signal: within(bytes.length) });
  }
  const reply = await by.controlPlane.call(
    reportResult,
    { params: { leaseId }, body: { result } },
    { signal: within(result.length) },
  );
  by.log("info", "result_delivered", { lease: leaseId, ...reply });
}

async function alreadyThere(
  params: { leaseId: LeaseId; sha256: Sha256 },
  by: Deliverer,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await by.controlPlane.call(hasBlob, { params }, { signal });
    return true;
  } catch (error) {
    // A HEAD reply has no body to tell problems apart by: its status is all there is.
    if (error instanceof ProblemError && error.type === "not-found") return false;
    throw error;
  }
}

/** Answers that no repetition changes. A proven backup is not thrown away for any other. */
const FINAL: readonly ProblemType[] = [
  "agent-locked",
  "agent-revoked",
  "agent-too-old",
  "lease-superseded",
  "lease-unknown",
  "too-large",
  "validation",
];

function isFinal(error: unknown): boolean {
  return error instanceof ProblemError && FINAL.includes(error.type);
}
