import { ProblemError } from "@rookery/shared/problem.ts";

/** How slow a sender may be. */
export interface Pace {
  /** A sender below this rate is cut off, counted after `graceSeconds`. */
  readonly minBytesPerSecond: number;
  readonly graceSeconds: number;
  /** Nothing takes longer, whatever its rate. */
  readonly totalSeconds: number;
}

/** Documents are small: who takes minutes for one is not on a slow line but holds us up. */
export const DOCUMENT_PACE: Pace = {
  minBytesPerSecond: 2_048,
  graceSeconds: 15,
  totalSeconds: 300,
};

export interface ReadBodyOptions {
  readonly maxBytes: number;
  readonly signal: AbortSignal;
  readonly pace: Pace;
}

/**
 * Reads a whole body, never more than `maxBytes` of it, and waits for no sender that drips. Refuses with the problems
 * `too-large` and `too-slow`; the stream is cancelled then.
 */
export async function readBody(
  body: ReadableStream<Uint8Array> | null,
  { maxBytes, signal, pace }: ReadBodyOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  if (!body) return new Uint8Array();
  const startedAt = performance.now();
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let received = 0;
  try {
    while (true) {
      const untilMs = startedAt + allowedMs(received, pace);
      const { done, value } = await readBefore(reader, { untilMs, signal });
      if (done) return joinBytes(chunks, received);
      received += value.length;
      if (received > maxBytes) {
        throw tooLarge(maxBytes);
      }
      chunks.push(value);
    }
  } catch (error) {
    await reader.cancel(error).catch(() => {});
    if (error instanceof ProblemError) throw error;
    throw new ProblemError("malformed", "The request broke off.", { cause: error });
  } finally {
    reader.releaseLock();
  }
}

export function tooLarge(maxBytes: number): ProblemError {
  return new ProblemError("too-large", `The limit of this endpoint is ${maxBytes} bytes.`);
}

export function tooSlow(): ProblemError {
  return new ProblemError("too-slow", "The body came too slowly.");
}

/** How long a sender of so many bytes may have taken. */
export function allowedMs(received: number, pace: Pace): number {
  const seconds = pace.graceSeconds + received / pace.minBytesPerSecond;
  return Math.min(seconds, pace.totalSeconds) * 1_000;
}

type Reader = ReadableStreamDefaultReader<Uint8Array>;

/** One read, given up at a time (of `performance.now()`) or by the signal. */
export async function readBefore(
  reader: Reader,
  { untilMs, signal }: { readonly untilMs: number; readonly signal: AbortSignal },
): Promise<ReadableStreamReadResult<Uint8Array>> {
  signal.throwIfAborted();
  const { promise: givenUp, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  const timer = setTimeout(
    () => reject(tooSlow()),
    Math.max(0, untilMs - performance.now()),
  );
  try {
    return await Promise.race([reader.read(), givenUp]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

/** Puts pieces of so many bytes together. */
export function joinBytes(
  chunks: readonly Uint8Array[],
  length: number,
): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
