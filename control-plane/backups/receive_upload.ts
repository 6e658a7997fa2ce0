import type { Kysely } from "kysely";
import { UploadHeaders } from "@rookery/shared/api/blob_upload.ts";
import type { AgentId, DeviceId, LeaseId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { holdActiveAgent } from "../agents/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { openSealedCapture } from "../jobs/sealed_report.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { putBlob, roomUnderLease } from "./blob_store.ts";
import { receiveBody } from "./receive_body.ts";
import { decompressed } from "./zstd.ts";

/** Under which lease, and of what. */
export interface UploadName {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly leaseId: LeaseId;
  readonly sha256: Sha256;
}

export interface ReceivedUpload extends UploadName {
  readonly headers: UploadHeaders;
  readonly body: ReadableStream<Uint8Array>;
  readonly signal: AbortSignal;
  readonly agentId: AgentId;
}

/** Reads the header fields of an upload; a ProblemError names the one that is wrong. */
export function readUploadHeaders(headers: Headers): UploadHeaders {
  const parsed = UploadHeaders.safeParse(Object.fromEntries(headers));
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.map(({ path, message }) => ({
    detail: message,
    pointer: `header:${path.join(".")}`,
  }));
  const detail = errors.map((error) => `${error.pointer}: ${error.detail}`).join("; ");
  throw new ProblemError("validation", detail, { errors });
}

/** Takes an upload in whatever form it comes, and stores the exact bytes if they have the announced digest. */
export async function receiveUpload(
  { db, keyRing }: { readonly db: Kysely<Database>; readonly keyRing: KeyRing },
  upload: ReceivedUpload,
): Promise<void> {
  const { body, signal, agentId, ...name } = upload;
  const maxBytes = await roomUnderLease(db, name);
  const wire = await receiveBody(body, {
    maxBytes: mostOnTheWire(upload.headers, maxBytes),
    signal,
  });
  const bytes = await decode(keyRing, { ...name, wire, maxBytes });
  // The body may have been minutes on its way: a revocation meanwhile counts.
  await inTransaction(db, async (tx) => {
    await holdActiveAgent(tx, agentId);
    await putBlob(tx, { keyRing, ...name, bytes });
  });
}

/** What does not compress grows a little; what is sealed grows by a third more. */
export function mostOnTheWire(headers: UploadHeaders, maxBytes: number): number {
  if (maxBytes === 0) return 0;
  const compressed = Math.ceil(maxBytes * 1.01) + 1_024;
  if (headers["content-type"] === "application/jose") return Math.ceil(compressed / 3) * 4 + 2_048;
  return headers["content-encoding"] === "zstd" ? compressed : maxBytes;
}

/** A small body must not become a large configuration: it never grows beyond what the device may have. */
async function decode(
  keyRing: KeyRing,
  received: UploadName & {
    readonly headers: UploadHeaders;
    readonly wire: Uint8Array<ArrayBuffer>;
    readonly maxBytes: number;
  },
): Promise<Uint8Array<ArrayBuffer>> {
  const { headers, wire, maxBytes } = received;
  if (headers["content-type"] === "application/jose") {
    const jwe = new TextDecoder().decode(wire);
    return await openSealedCapture(keyRing, { ...received, jwe });
  }
  return headers["content-encoding"] === "zstd" ? decompressed(wire, maxBytes) : wire;
}
