import type { Kysely } from "kysely";
import {
  UPLOAD_ID,
  UPLOAD_LENGTH,
  UPLOAD_OFFSET,
  UploadHeaders,
} from "@rookery/shared/api/blob_upload.ts";
import type { AgentId, DeviceId, LeaseId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { holdActiveAgent } from "../agents/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { openSealedCapture } from "../jobs/sealed_report.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { joinBytes } from "../http/read_body.ts";
import { putBlob, roomUnderLease } from "./blob_store.ts";
import { receiveBody } from "./receive_body.ts";
import { dropParts, keepPart, type PartsOf, readParts } from "./upload_parts.ts";
import { decompressed } from "./zstd.ts";

/** What a long upload leaves behind while it comes in, so that neither side loses it all by a crash. */
const PIECE_BYTES = 1_048_576;

/** Under which lease, and of what. */
export interface UploadName {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly leaseId: LeaseId;
  readonly sha256: Sha256;
}

export interface UploadServices {
  readonly db: Kysely<Database>;
  readonly keyRing: KeyRing;
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
  services: UploadServices,
  upload: ReceivedUpload,
): Promise<void> {
  const { db, keyRing } = services;
  const { body: _, signal: __, agentId, ...name } = upload;
  const maxBytes = await roomUnderLease(db, name);
  const { wire, hasParts } = await receiveWire(services, { ...upload, maxBytes });
  const bytes = await decode(keyRing, { ...name, wire, maxBytes }).catch(dropAndThrow);
  // The body may have been minutes on its way: a revocation meanwhile counts.
  await inTransaction(db, async (tx) => {
    await holdActiveAgent(tx, agentId);
    await putBlob(tx, { keyRing, ...name, bytes });
  }).catch(dropAndThrow);
  if (hasParts) await dropParts(db, name);

  /** A whole body that is not what it should be is not gone on with: the next try starts from nothing. */
  async function dropAndThrow(error: unknown): Promise<never> {
    if (error instanceof ProblemError) await dropParts(db, name);
    throw error;
  }
}

interface WireOrder extends ReceivedUpload {
  readonly maxBytes: number;
}

/** The whole body as it travelled: what came before a cut, and the rest that comes now. */
async function receiveWire(
  services: UploadServices,
  order: WireOrder,
): Promise<{ readonly wire: Uint8Array<ArrayBuffer>; readonly hasParts: boolean }> {
  const { headers, body, signal, leaseId, sha256, maxBytes } = order;
  const most = mostOnTheWire(headers, maxBytes);
  const uploadId = headers[UPLOAD_ID];
  if (uploadId === undefined) {
    return { wire: await receiveBody(body, { maxBytes: most, signal }), hasParts: false };
  }
  const parts = { leaseId, sha256, uploadId };
  const before = await partsBefore(services, { ...parts, offset: headers[UPLOAD_OFFSET] }, body);
  let startAt = headers[UPLOAD_OFFSET];
  const rest = await receiveBody(body, {
    maxBytes: most - startAt,
    signal,
    pieceBytes: PIECE_BYTES,
    async onPiece(bytes) {
      await keepPart(services.db, { ...services, ...parts, startAt, bytes, maxBytes: most });
      startAt += bytes.length;
    },
  });
  const wire = joinBytes([...before, rest], headers[UPLOAD_OFFSET] + rest.length);
  await refuseIncomplete(services, { ...order, ...parts, wire, startAt, most });
  return { wire, hasParts: startAt > 0 };
}

/** What is there of an upload, which must be what its sender believes. */
async function partsBefore(
  { db, keyRing }: UploadServices,
  { offset, ...of }: PartsOf & { readonly offset: number },
  body: ReadableStream<Uint8Array>,
): Promise<readonly Uint8Array<ArrayBuffer>[]> {
  const parts = offset === 0 ? [] : await readParts(db, { ...of, keyRing });
  const end = parts.reduce((sum, { length }) => sum + length, 0);
  if (end === offset) return parts;
  const problem = wrongOffset(end);
  await body.cancel(problem).catch(() => {});
  throw problem;
}

/** A body that ended sooner than its sender said was cut by something on the way that does not tell. */
async function refuseIncomplete(
  services: UploadServices,
  { wire, startAt, most, headers, ...of }: WireOrder & PartsOf & {
    readonly wire: Uint8Array<ArrayBuffer>;
    readonly startAt: number;
    readonly most: number;
  },
): Promise<void> {
  const announced = headers[UPLOAD_LENGTH];
  if (announced === undefined || wire.length >= announced) return;
  const bytes = wire.slice(startAt);
  const part = { ...of, ...services, startAt, bytes, maxBytes: most };
  const isKept = bytes.length === 0 || await keepPart(services.db, part);
  throw wrongOffset(isKept ? wire.length : startAt);
}

function wrongOffset(end: number): ProblemError {
  return new ProblemError("upload-offset", `There are ${end} bytes of this upload.`);
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
