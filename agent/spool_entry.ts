import { z } from "zod";
import { LeaseId, Sha256 } from "@rookery/shared/ids.ts";

/** A file of the spool is not what was written: nothing of it can be delivered. */
export class SpoolDamagedError extends Error {
  override name = "SpoolDamagedError";
}

/** The disk does not give a file of the spool back; it may later. */
export class SpoolReadError extends Error {
  override name = "SpoolReadError";
}

/** One entry as its file's name tells it: `000000000012-<lease id>.entry`, which sorts oldest first. */
export interface SpoolEntry {
  readonly name: string;
  readonly leaseId: LeaseId;
  readonly bytes: number;
}

/** A sealed part of an entry, and where it stands in the file. */
export interface SealedPart {
  readonly at: number;
  readonly bytes: number;
}

/** What an entry holds: every configuration that its result names, and the result, each a JWE. */
export interface SpoolContents {
  readonly captures: readonly (SealedPart & { readonly sha256: Sha256 })[];
  readonly result: SealedPart;
}

const EntryHead = z.strictObject({
  version: z.literal(1),
  leaseId: LeaseId,
  captures: z.array(z.strictObject({ sha256: Sha256, bytes: z.int().min(1) })).max(100),
  resultBytes: z.int().min(1),
});

/** Longer than the head of an entry of a hundred captures. */
export const HEAD_BYTES = 16_384;
const NAME = /^\d{12}-(?<leaseId>[0-9a-f-]{36})\.entry$/;
const encoder = new TextEncoder();

export function entryName(number: number, leaseId: LeaseId): string {
  return `${String(number).padStart(12, "0")}-${leaseId}.entry`;
}

/** The number in an entry's name, or 0. */
export function entryNumber(name: string): number {
  return NAME.test(name) ? Number(name.slice(0, 12)) : 0;
}

/** The entry that a file of the spool is; undefined for another file. */
export function entryOf({ name, bytes }: { name: string; bytes: number }): SpoolEntry | undefined {
  const leaseId = LeaseId.safeParse(NAME.exec(name)?.groups?.leaseId);
  return leaseId.success ? { name, bytes, leaseId: leaseId.data } : undefined;
}

/** One line of JSON that says what follows, then the JWEs one after the other: one file is whole, or it is not there. */
export function writeEntry(
  leaseId: LeaseId,
  captures: readonly { readonly sha256: Sha256; readonly jwe: string }[],
  result: string,
): Uint8Array[] {
  const sealed = captures.map(({ jwe }) => encoder.encode(jwe));
  const head = {
    version: 1,
    leaseId,
    captures: captures.map(({ sha256, jwe }) => ({ sha256, bytes: jwe.length })),
    resultBytes: result.length,
  };
  return [encoder.encode(`${JSON.stringify(head)}\n`), ...sealed, encoder.encode(result)];
}

/** Reads the head of an entry's file; a SpoolDamagedError unless it accounts for every byte of the file. */
export function readHead(entry: SpoolEntry, start: Uint8Array): SpoolContents {
  const end = start.indexOf(10);
  const head = EntryHead.safeParse(parseJson(start.subarray(0, Math.max(0, end))));
  if (!head.success) throw new SpoolDamagedError(`Cannot read ${entry.name}: it has no head`);
  let at = end + 1;
  const captures = head.data.captures.map(({ sha256, bytes }) => {
    at += bytes;
    return { sha256, bytes, at: at - bytes };
  });
  const result = { at, bytes: head.data.resultBytes };
  if (head.data.leaseId !== entry.leaseId || at + result.bytes !== entry.bytes) {
    throw new SpoolDamagedError(`Cannot read ${entry.name}: it is not as long as it says`);
  }
  return { captures, result };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}
