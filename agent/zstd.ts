import * as zlib from "node:zlib";

/** What Node's zlib gained with version 22: the types of ssh2 bring an older description of Node along. */
interface Zstd {
  readonly constants: { readonly ZSTD_c_compressionLevel: number };
  zstdCompressSync(bytes: Uint8Array, options: { params: Record<number, number> }): Uint8Array;
}

const zstd = zlib as unknown as Zstd;

/** Compression runs on the event loop, beside the heartbeat: what is large is compressed quickly and not well. */
const LARGE_BYTES = 1_048_576;

/** Compresses (RFC 8878); the same bytes always give the same ones, so that an upload can go on where it was cut. */
export function compress(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const params = { [zstd.constants.ZSTD_c_compressionLevel]: bytes.length > LARGE_BYTES ? 1 : 3 };
  return new Uint8Array(zstd.zstdCompressSync(bytes, { params }));
}
