import { Zip, ZipDeflate } from "fflate";

/** A file of a zip. */
export interface ZippedFile {
  readonly name: string;
  readonly modifiedAt: Temporal.Instant;
  readonly bytes: Uint8Array;
}

/** Compressed at once, between two looks at what else there is to do. */
const PIECE_BYTES = 65_536;

/** A zip knows no time before 1980, in whatever zone. */
const EARLIEST = Date.UTC(1980, 0, 2);

/**
 * A zip of files that are asked for one by one, as fast as the reader takes it: it may be larger than the memory. Without
 * zip64, so of at most 65,535 files and 4 GiB. When a file cannot be had the stream fails: it lacks the end that a zip has.
 */
export function streamZip(
  files: AsyncIterable<ZippedFile>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return ReadableStream.from(zipPieces(files));
}

async function* zipPieces(
  files: AsyncIterable<ZippedFile>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const made: Uint8Array<ArrayBuffer>[] = [];
  const zip = new Zip((error, piece) => {
    if (error) throw error;
    made.push(piece as Uint8Array<ArrayBuffer>);
  });
  for await (const { name, modifiedAt, bytes } of files) {
    const file = new ZipDeflate(name, { level: 6 });
    file.mtime = Math.max(modifiedAt.epochMilliseconds, EARLIEST);
    zip.add(file);
    let at = 0;
    do {
      const piece = bytes.subarray(at, at + PIECE_BYTES);
      at += PIECE_BYTES;
      file.push(piece, at >= bytes.length);
      yield* made.splice(0);
    } while (at < bytes.length);
  }
  zip.end();
  yield* made.splice(0);
}
