import { hasBlob, putBlob, reportResult } from "@rookery/shared/api/agent_protocol.ts";
import {
  UPLOAD_ID,
  UPLOAD_LENGTH,
  UPLOAD_OFFSET,
  UploadState,
} from "@rookery/shared/api/blob_upload.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { LeaseId, Sha256 } from "@rookery/shared/ids.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import type { ControlPlane } from "./control_plane.ts";
import type { Log } from "./log.ts";
import type { Parcel } from "./parcel.ts";

const REQUEST_TIMEOUT_MS = 60_000;
/** The slowest line that the control plane has patience with. */
const MIN_BYTES_PER_SECOND = 2_048;

export interface Sender {
  readonly controlPlane: ControlPlane;
  readonly log: Log;
  readonly stopSignal: AbortSignal;
}

/** Uploads what the control plane does not have, then reports; throws whatever came in between. */
export async function sendParcel(parcel: Parcel, by: Sender): Promise<void> {
  const { leaseId } = parcel;
  for (const capture of parcel.captures) await upload(leaseId, capture, by);
  const body = await parcel.report();
  const signal = within(JSON.stringify(body).length, by);
  const reply = await by.controlPlane.call(reportResult, { params: { leaseId }, body }, { signal });
  by.log("info", "result_delivered", { lease: leaseId, ...reply });
}

/** `again`: try later; `done`: its answer is final and all is well; `refused`: it will never be taken. */
export function fateOf(error: unknown): "again" | "done" | "refused" {
  if (!(error instanceof ProblemError)) return "again";
  if (DONE.includes(error.type)) return "done";
  return REFUSED.includes(error.type) ? "refused" : "again";
}

/** A newer lease has the job, or nobody knows this one: what there was to keep, the control plane has kept. */
const DONE: readonly ProblemType[] = ["lease-superseded", "lease-unknown"];
/** Answers that no repetition changes. A proven backup is not given up for any other. */
const REFUSED: readonly ProblemType[] = ["too-large", "validation"];

function within(bytes: number, by: Sender): AbortSignal {
  const ms = REQUEST_TIMEOUT_MS + bytes / MIN_BYTES_PER_SECOND * 1_000;
  return AbortSignal.any([by.stopSignal, AbortSignal.timeout(ms)]);
}

async function upload(
  leaseId: LeaseId,
  capture: Parcel["captures"][number],
  by: Sender,
): Promise<void> {
  const params = { leaseId, sha256: capture.sha256 };
  const there = await lookFor(params, by);
  if (there.whole) return;
  const { type, coding, bytes } = await capture.body(there);
  const id = await sha256(bytes);
  const offset = there.part?.[UPLOAD_ID] === id ? there.part[UPLOAD_OFFSET] : 0;
  const rest = bytes.subarray(offset);
  await by.controlPlane.call(putBlob, { params, body: rest }, {
    signal: within(rest.length, by),
    headers: {
      "content-type": type,
      ...(coding === "identity" ? {} : { "content-encoding": coding }),
      [UPLOAD_ID]: id,
      [UPLOAD_OFFSET]: String(offset),
      [UPLOAD_LENGTH]: String(bytes.length),
    },
  });
}

interface Found {
  readonly whole: boolean;
  /** Whether uploads may be compressed. */
  readonly zstd: boolean;
  readonly part?: UploadState;
}

/** What the control plane has of a configuration. */
async function lookFor(
  params: { leaseId: LeaseId; sha256: Sha256 },
  by: Sender,
): Promise<Found> {
  let headers = new Headers();
  const onHeaders = (received: Headers) => headers = received;
  try {
    await by.controlPlane.call(hasBlob, { params }, { signal: within(0, by), onHeaders });
    return { whole: true, zstd: false };
  } catch (error) {
    // A HEAD reply has no body to tell problems apart by: its header names the problem.
    if (!(error instanceof ProblemError) || error.type !== "not-found") throw error;
    const zstd = /(^|,)\s*zstd\s*(,|$)/.test(headers.get("accept-encoding") ?? "");
    const part = UploadState.safeParse(Object.fromEntries(headers));
    return { whole: false, zstd, ...(part.success ? { part: part.data } : {}) };
  }
}
