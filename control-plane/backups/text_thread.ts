import { ProblemError } from "@rookery/shared/problem.ts";
import { textsOf, type TextWork } from "./text_work.ts";
import type { TextMessage } from "./text_worker.ts";

/** Work that was given up: no text that a device means takes so long. */
export class TextTooSlowError extends Error {
  override readonly name = "TextTooSlowError";
}

export interface TextThreadOptions {
  /** Work that takes longer is given up. Default 60. */
  readonly mostSeconds?: number;
  /** Texts that may wait, together; refusing keeps the memory for the others. Default 128 MiB. */
  readonly mostWaitingBytes?: number;
}

const RETRY_SECONDS = 5;
/** A busy machine needs a while to load the thread's modules, which is no fault of the text. */
const START_SECONDS = 60;

interface Waiting {
  readonly order: { readonly kind: string; readonly input: unknown };
  readonly bytes: number;
  readonly resolve: (output: TextWork[keyof TextWork]["output"]) => void;
  readonly reject: (error: Error) => void;
}

/** A thread that works on one text at a time. It starts with the first one, and anew after one that was given up. */
export class TextThread {
  readonly #mostSeconds: number;
  readonly #mostWaitingBytes: number;
  readonly #queue: Waiting[] = [];
  #running: Waiting | undefined;
  #worker: Worker | undefined;
  #isReady = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  constructor({ mostSeconds = 60, mostWaitingBytes = 134_217_728 }: TextThreadOptions = {}) {
    this.#mostSeconds = mostSeconds;
    this.#mostWaitingBytes = mostWaitingBytes;
  }

  run<K extends keyof TextWork>(
    kind: K,
    input: TextWork[K]["input"],
  ): Promise<TextWork[K]["output"]> {
    if (this.#stopped) return Promise.reject(new Error(`Cannot ${kind} a text: stopped`));
    const bytes = sizeOf(input);
    const waiting = this.#queue.reduce((sum, { bytes }) => sum + bytes, 0);
    if (this.#queue.length > 0 && waiting + bytes > this.#mostWaitingBytes) {
      return Promise.reject(overloaded());
    }
    const { promise, resolve, reject } = Promise.withResolvers<TextWork[K]["output"]>();
    // The worker answers an order with the output of its kind.
    this.#queue.push({
      ...{ order: { kind, input }, bytes, reject },
      resolve: (output) => resolve(output as TextWork[K]["output"]),
    });
    this.#next();
    return promise;
  }

  stop(): void {
    this.#stopped = true;
    this.#abandon(new Error("Cannot read a text: the control plane is stopping"));
  }

  #next(): void {
    if (this.#running) return;
    this.#running = this.#queue.shift();
    if (!this.#running) return;
    this.#worker ??= this.#start();
    this.#limit(this.#running, this.#isReady ? this.#mostSeconds : START_SECONDS);
    this.#worker.postMessage(this.#running.order);
  }

  #limit({ order }: Waiting, seconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const error = `Cannot ${order.kind} a text: it takes longer than ${seconds} s`;
      this.#abandon(new TextTooSlowError(error));
    }, seconds * 1_000);
  }

  #start(): Worker {
    // It reads its modules and touches nothing else.
    const none = { net: false, write: false, env: false, run: false, ffi: false, sys: false };
    const worker = new Worker(new URL("./text_worker.ts", import.meta.url), {
      type: "module",
      deno: { permissions: { ...none, read: true, import: false } },
    });
    this.#isReady = false;
    worker.onmessage = ({ data }: MessageEvent<TextMessage>) => this.#hear(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#abandon(new Error(`Cannot read a text: the thread ended: ${event.message}`));
    };
    return worker;
  }

  #hear(answer: TextMessage): void {
    if ("ready" in answer) {
      this.#isReady = true;
      if (this.#running) this.#limit(this.#running, this.#mostSeconds);
      return;
    }
    clearTimeout(this.#timer);
    const running = this.#running;
    this.#running = undefined;
    if ("output" in answer) running?.resolve(answer.output);
    else running?.reject(new Error(`Cannot ${running.order.kind} a text: ${answer.failure}`));
    this.#next();
  }

  /** Ends the worker with what it works on; the others go on with a new one, unless this is the end. */
  #abandon(error: Error): void {
    clearTimeout(this.#timer);
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#running?.reject(error);
    this.#running = undefined;
    if (!this.#stopped) return this.#next();
    for (const { reject } of this.#queue.splice(0)) reject(error);
  }
}

/** The bytes of all texts of an input. */
export function sizeOf(input: TextWork[keyof TextWork]["input"]): number {
  return textsOf(input).reduce((sum, { bytes }) => sum + bytes.length, 0);
}

function overloaded(): ProblemError {
  return new ProblemError("overloaded", "Too many large configurations wait to be read.", {
    retryAfterSeconds: RETRY_SECONDS,
  });
}
