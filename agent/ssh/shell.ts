// @ts-types="@types/ssh2"
import type ssh2 from "ssh2";
import { endedByDevice, type Line } from "./connection.ts";
import { abortError } from "./ssh_failure.ts";
import type { Shell } from "./transport.ts";
import { markTurn } from "./turn.ts";

/**
 * A shell on an SSH channel. Nothing is read ahead: what is not asked for stays in ssh2's window (2 MiB), and behind that in
 * the device.
 */
export class ChannelShell implements Shell {
  readonly #channel: ssh2.ClientChannel;
  readonly #line: Line;
  readonly #stopListening: () => void;
  #ended = false;
  /** Set when the connection broke before the device had ended the channel. */
  #cutOff = false;
  #wake: (() => void) | undefined;

  constructor(channel: ssh2.ClientChannel, line: Line) {
    this.#channel = channel;
    this.#line = line;
    // An unread stderr would hold back the close of the channel.
    channel.stderr.resume();
    channel.on("readable", () => this.#wake?.());
    for (const event of ["end", "close"] as const) {
      channel.on(event, () => {
        this.#ended = true;
        this.#wake?.();
      });
    }
    this.#stopListening = line.onBreak(() => this.#onBreak());
    if (line.broken) this.#onBreak();
  }

  write(text: string): void {
    if (this.#ended || !this.#channel.writable) return;
    markTurn();
    this.#channel.write(text);
  }

  async read(options: { readonly signal: AbortSignal }): Promise<Uint8Array | undefined> {
    const { signal } = options;
    for (;;) {
      if (signal.aborted) throw abortError(signal);
      const chunk: Uint8Array | null = this.#channel.read();
      if (chunk !== null && chunk.length > 0) {
        markTurn();
        return chunk;
      }
      if (this.#cutOff && this.#line.broken) throw this.#line.broken;
      if (this.#ended) return undefined;
      await this.#somethingNew(signal);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#stopListening();
    if (!this.#ended && !this.#line.broken) this.#channel.close();
    // Without a reader the rest would hold back the channel's end.
    this.#channel.removeAllListeners("readable");
    this.#channel.resume();
    return Promise.resolve();
  }

  #onBreak(): void {
    this.#cutOff = !endedByDevice(this.#channel);
    this.#wake?.();
  }

  async #somethingNew(signal: AbortSignal): Promise<void> {
    const woken = Promise.withResolvers<void>();
    this.#wake = woken.resolve;
    signal.addEventListener("abort", woken.resolve as () => void, { once: true });
    try {
      await woken.promise;
    } finally {
      this.#wake = undefined;
      signal.removeEventListener("abort", woken.resolve as () => void);
    }
  }
}
