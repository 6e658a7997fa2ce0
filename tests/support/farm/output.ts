import type { ServerChannel } from "ssh2";
import type { Socket } from "node:net";
import { Buffer } from "node:buffer";

/** Thrown inside a session to end it: the peer has gone, or a fault has ended it on purpose. */
export class SessionEnded extends Error {
  override name = "SessionEnded";
}

/** Where a session writes. Everything waits for the peer to read, and throws once the session is over. */
export interface Output {
  readonly signal: AbortSignal;
  /** Sends text in the line ends of the transport (`\r\n` in a shell, `\n` in exec). */
  write(text: string): Promise<void>;
  /** The bytes that `write` would send. */
  encode(text: string): Uint8Array;
  writeBytes(bytes: Uint8Array): Promise<void>;
  writeError(text: string): void;
  /** Closes the channel in good order. */
  finish(status: number): void;
  /** Breaks the TCP connection with a reset. */
  reset(): void;
}

export interface OutputOptions {
  readonly lineEnd: "\r\n" | "\n";
  readonly socket: Socket;
  readonly signal: AbortSignal;
}

/** Wraps a channel of ssh2's server, with back-pressure. */
export function makeOutput(channel: ServerChannel, options: OutputOptions): Output {
  const { lineEnd, socket, signal } = options;
  function encode(text: string): Uint8Array {
    return Buffer.from(lineEnd === "\n" ? text : text.replaceAll("\n", lineEnd), "utf8");
  }
  async function writeBytes(bytes: Uint8Array): Promise<void> {
    throwIfOver(signal);
    if (bytes.length === 0 || channel.write(bytes)) return;
    await untilEvent((wake) => channel.once("drain", wake), { signal });
  }
  return {
    signal,
    encode,
    writeBytes,
    write: (text) => writeBytes(encode(text)),
    writeError: (text) => channel.stderr.write(text),
    finish(status) {
      channel.exit(status);
      channel.end();
    },
    reset: () => socket.resetAndDestroy(),
  };
}

/** Waits, and throws `SessionEnded` as soon as the session is over. */
export async function pause(
  milliseconds: number,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    await untilEvent((wake) => timer = setTimeout(wake, milliseconds), { signal });
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for the session to be over; never returns. */
export async function waitForEver({ signal }: { readonly signal: AbortSignal }): Promise<never> {
  await untilEvent(() => {}, { signal });
  throw new SessionEnded();
}

/** Resolves when `subscribe` calls back; throws `SessionEnded` when the session is over before. */
export async function untilEvent(
  subscribe: (wake: () => void) => void,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  throwIfOver(signal);
  await new Promise<void>((resolve, reject) => {
    function end(): void {
      reject(new SessionEnded());
    }
    signal.addEventListener("abort", end, { once: true });
    subscribe(() => {
      signal.removeEventListener("abort", end);
      resolve();
    });
  });
}

function throwIfOver(signal: AbortSignal): void {
  if (signal.aborted) throw new SessionEnded();
}
