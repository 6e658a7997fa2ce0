import { startPatientTimer } from "../ssh/patient_timer.ts";
import { DeviceError } from "../ssh/ssh_failure.ts";
import type { Shell } from "../ssh/transport.ts";
import { Screen } from "./screen.ts";

/** How long a device must say nothing before its last line is believed to be its last. */
export const SETTLE_MS = 120;

export interface ConsoleOptions {
  readonly signal: AbortSignal;
  /** A pause longer than this ends the session with `idle_timed_out`; the first byte may take as long. */
  readonly idleSeconds: number;
}

/** What a reader saw on the screen that may be what it waits for, if nothing follows within the settle time. */
export interface Sighting<Seen> {
  readonly seen: Seen;
  readonly settleMs: number;
}

/** A shell and the screen it writes on: sends text and waits for what the screen shows, under limits. */
export class Console {
  readonly screen = new Screen();
  readonly #shell: Shell;
  readonly #signal: AbortSignal;
  readonly #idleMs: number;
  /** The read that goes on while its reader only waits for silence, so that no byte is lost. */
  #pending: Promise<Uint8Array | undefined> | undefined;
  #received = 0;
  #maxBytes = Infinity;

  constructor(shell: Shell, { signal, idleSeconds }: ConsoleOptions) {
    this.#shell = shell;
    this.#signal = signal;
    this.#idleMs = idleSeconds * 1_000;
  }

  /** Whether the device has sent anything since the last command. */
  get hasReceived(): boolean {
    return this.#received > 0;
  }

  get idleMs(): number {
    return this.#idleMs;
  }

  send(text: string): void {
    this.#signal.throwIfAborted();
    this.#shell.write(text);
  }

  /** Starts a new account: finished lines are forgotten, and the next `maxBytes` are the limit. */
  startAccount(maxBytes: number): void {
    this.screen.forgetLines();
    this.#received = 0;
    this.#maxBytes = maxBytes;
  }

  /** Takes in what arrives within a time; false when nothing does. */
  async readWithin(milliseconds: number): Promise<boolean> {
    this.#pending ??= this.#read();
    const bytes = await within(this.#pending, milliseconds);
    if (bytes === SILENCE) return false;
    this.#pending = undefined;
    if (bytes === undefined) {
      throw new DeviceError("connection_lost", "The device closed the session before its end");
    }
    this.#received += bytes.length;
    this.screen.feed(bytes);
    if (this.#received > this.#maxBytes || this.screen.size > this.#maxBytes) {
      throw new DeviceError(
        "configuration_too_large",
        `The device sent more than the limit of ${this.#maxBytes} bytes`,
      );
    }
    return true;
  }

  /**
   * Reads until `look` sees something and the device then stays silent for its settle time. Undefined when
   * nothing arrives for `idleMs`; a look at the screen must cost no more than its unfinished line.
   */
  async readUntil<Seen>(
    look: (screen: Screen) => Sighting<Seen> | undefined,
    { idleMs }: { readonly idleMs: number },
  ): Promise<Seen | undefined> {
    while (true) {
      const sighting = look(this.screen);
      if (await this.readWithin(sighting?.settleMs ?? idleMs)) continue;
      return sighting?.seen;
    }
  }

  /** The same, but silence ends the session with `idle_timed_out`. */
  async awaitSight<Seen>(look: (screen: Screen) => Sighting<Seen> | undefined): Promise<Seen> {
    const seen = await this.readUntil(look, { idleMs: this.#idleMs });
    if (seen !== undefined) return seen;
    throw new DeviceError(
      "idle_timed_out",
      `The device sent nothing for ${this.#idleMs / 1_000} s although it was not at its prompt`,
    );
  }

  #read(): Promise<Uint8Array | undefined> {
    const reading = this.#shell.read({ signal: this.#signal });
    // Nobody may be waiting when the session is aborted; the next reader sees the error all the same.
    reading.catch(() => {});
    return reading;
  }
}

const SILENCE = Symbol("silence");

async function within<Value>(
  promise: Promise<Value>,
  milliseconds: number,
): Promise<Value | typeof SILENCE> {
  const silence = Promise.withResolvers<typeof SILENCE>();
  const timer = startPatientTimer(milliseconds, () => silence.resolve(SILENCE));
  try {
    return await Promise.race([promise, silence.promise]);
  } finally {
    timer.cancel();
  }
}
