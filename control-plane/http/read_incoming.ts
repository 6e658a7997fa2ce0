import type { IncomingMessage } from "node:http";
import { ProblemError } from "@rookery/shared/problem.ts";
import { allowedMs, type ReadBodyOptions, tooLarge, tooSlow } from "./read_body.ts";

/**
 * `readBody` for a request of node:http: the same limits and refusals without a stream between, which would cost more
 * than all the rest of a small request.
 */
export function readIncoming(
  incoming: IncomingMessage,
  { maxBytes, pace }: ReadBodyOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const startedAt = performance.now();
  const chunks: Uint8Array[] = [];
  let received = 0;
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      clearTimeout(timer);
      incoming.off("data", take).off("end", finish).off("close", breakOff);
      settle();
    };
    const refuse = (error: Error) => end(() => reject(error));
    const breakOff = () => refuse(new ProblemError("malformed", "The request broke off."));
    const finish = () => end(() => resolve(new Uint8Array(Buffer.concat(chunks, received))));
    const watch = () => {
      const leftMs = startedAt + allowedMs(received, pace) - performance.now();
      if (leftMs <= 0) refuse(tooSlow());
      else timer = setTimeout(watch, leftMs);
    };
    const take = (chunk: Uint8Array) => {
      received += chunk.length;
      if (received > maxBytes) refuse(tooLarge(maxBytes));
      else chunks.push(chunk);
    };
    let timer = setTimeout(watch, allowedMs(0, pace));
    incoming.on("data", take).on("end", finish).on("close", breakOff);
    if (incoming.destroyed && !incoming.readableEnded) breakOff();
  });
}
