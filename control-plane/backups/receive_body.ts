import { createHash } from "node:crypto";
import type { Sha256 } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { allowedMs, joinBytes, readBefore } from "../http/read_body.ts";

export interface ReceiveOptions {
  /** What the whole body must hash to; absent when only what it stands for has a digest. */
  readonly sha256?: Sha256;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
  /** A sender below this rate is cut off, counted after `graceSeconds`. Default 2,048. */
  readonly minBytesPerSecond?: number;
  /** Default 20. */
  readonly graceSeconds?: number;
  /** Given what arrived, once it is `pieceBytes` or more; and whatever is left when the body breaks off. */
  readonly onPiece?: (piece: Uint8Array<ArrayBuffer>) => Promise<void>;
  readonly pieceBytes?: number;
}

/**
 * Reads a body while checking it: never holds more than `maxBytes`, waits for no sender that drips, and gives
 * only bytes of the announced digest. Refuses with a ProblemError; the stream is cancelled then.
 */
export async function receiveBody(
  body: ReadableStream<Uint8Array>,
  options: ReceiveOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const { minBytesPerSecond = 2_048, graceSeconds = 20 } = options;
  // However large, it may take as long as its rate says.
  const pace = { minBytesPerSecond, graceSeconds, totalSeconds: Infinity };
  const startedAt = performance.now();
  const hash = createHash("sha256");
  const chunks: Uint8Array[] = [];
  const pieces = new Pieces(options);
  let received = 0;
  const reader = body.getReader();
  try {
    while (true) {
      const untilMs = startedAt + allowedMs(received, pace);
      const { done, value } = await readBefore(reader, { untilMs, signal: options.signal });
      if (done) break;
      received += value.length;
      if (received > options.maxBytes) {
        throw new ProblemError("too-large", `The limit is ${options.maxBytes} bytes.`);
      }
      hash.update(value);
      chunks.push(value);
      await pieces.add(value);
    }
  } catch (error) {
    await reader.cancel(error).catch(() => {});
    if (!(error instanceof ProblemError) || error.type === "too-slow") await pieces.flush();
    throw error;
  } finally {
    reader.releaseLock();
  }
  if (options.sha256 !== undefined && hash.digest("hex") !== options.sha256) {
    throw new ProblemError("malformed", "The bytes do not have the digest in the address.");
  }
  return joinBytes(chunks, received);
}

/** What arrived and was not given to `onPiece` yet. */
class Pieces {
  readonly #options: Pick<ReceiveOptions, "onPiece" | "pieceBytes">;
  #chunks: Uint8Array[] = [];
  #bytes = 0;

  constructor(options: Pick<ReceiveOptions, "onPiece" | "pieceBytes">) {
    this.#options = options;
  }

  async add(chunk: Uint8Array): Promise<void> {
    if (!this.#options.onPiece) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= (this.#options.pieceBytes ?? Infinity)) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#bytes === 0) return;
    const piece = joinBytes(this.#chunks, this.#bytes);
    this.#chunks = [];
    this.#bytes = 0;
    await this.#options.onPiece?.(piece);
  }
}
