import { createHash } from "node:crypto";
import type { Selectable } from "kysely";
import { canonicalJson } from "@rookery/shared/canonical_json.ts";
import type { AuditRowsTable } from "../database/schema.ts";

export type AuditRowFound = Selectable<AuditRowsTable>;

/** One row of a segment: its id, and the SHA-256 of the canonical JSON of all its columns, in hexadecimal. */
export interface RowDigest {
  readonly id: string;
  readonly sha256: string;
}

const ID_BYTES = 16;
const BYTES = ID_BYTES + 32;

/** The digest of a row with all its columns, also those that give it its place. */
export function digestRow({ at, ...row }: AuditRowFound): RowDigest {
  const text = canonicalJson({ ...row, at: at.toString() });
  return { id: row.id, sha256: createHash("sha256").update(text).digest("hex") };
}

/** The digests of a segment in one: 48 bytes for each row. */
export function packDigests(digests: readonly RowDigest[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(
    digests.map(({ id, sha256 }) => id.replaceAll("-", "") + sha256).join(""),
  );
}

/** What `packDigests` packed. */
export function unpackDigests(packed: Uint8Array): readonly RowDigest[] {
  const digests: RowDigest[] = [];
  for (let at = 0; at + BYTES <= packed.length; at += BYTES) {
    const hex = packed.subarray(at, at + BYTES).toHex();
    const id = hex.slice(0, 2 * ID_BYTES).replace(
      /^(.{8})(.{4})(.{4})(.{4})(.{12})$/,
      "$1-$2-$3-$4-$5",
    );
    digests.push({ id, sha256: hex.slice(2 * ID_BYTES) });
  }
  return digests;
}
