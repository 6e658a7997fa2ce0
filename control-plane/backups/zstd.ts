import * as zlib from "node:zlib";
import { ProblemError } from "@rookery/shared/problem.ts";

/**
 * What Node's zlib gained with version 22 and this runtime has. Declared here because the types of ssh2 bring
 * an older description of Node along, which knows no zstd.
 */
interface Zstd {
  readonly constants: { readonly ZSTD_c_compressionLevel: number };
  zstdCompressSync(bytes: Uint8Array, options: { params: Record<number, number> }): Uint8Array;
  zstdDecompressSync(bytes: Uint8Array, options: { maxOutputLength: number }): Uint8Array;
}

const zstd = zlib as unknown as Zstd;

/** Compresses at a level from 1 (quick) to 22 (small). */
export function compress(bytes: Uint8Array, level: number): Uint8Array<ArrayBuffer> {
  const params = { [zstd.constants.ZSTD_c_compressionLevel]: level };
  return new Uint8Array(zstd.zstdCompressSync(bytes, { params }));
}

/** Decompresses to at most `maxBytes`; throws a RangeError beyond that. */
export function decompress(bytes: Uint8Array, maxBytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(zstd.zstdDecompressSync(bytes, { maxOutputLength: maxBytes }));
}

/** Decompresses what a sender says is zstd; a ProblemError when it is none, or becomes more than `maxBytes`. */
export function decompressed(bytes: Uint8Array, maxBytes: number): Uint8Array<ArrayBuffer> {
  try {
    return decompress(bytes, Math.max(1, maxBytes));
  } catch (cause) {
    if (cause instanceof RangeError) {
      throw new ProblemError("too-large", `The limit is ${maxBytes} bytes.`, { cause });
    }
    throw new ProblemError("malformed", "The bytes are no zstd, or were cut.", { cause });
  }
}
