import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import type { Socket } from "node:net";
// @ts-types="@types/ssh2"
import type ssh2 from "ssh2";
import { within } from "./deadline.ts";
import { Command } from "./exec.ts";
import { ChannelShell } from "./shell.ts";
import { destroySocket, type StageOptions } from "./socket.ts";
import { abortError, DeviceError, plainText, toDeviceError } from "./ssh_failure.ts";
import type {
  DeviceConnection,
  ExecOptions,
  ExecResult,
  NegotiatedAlgorithms,
  Shell,
  Terminal,
} from "./transport.ts";

/** How long a device may take to answer a polite end. */
const CLOSE_SECONDS = 2;

/** What is known of a connection when its login has succeeded. */
export interface ConnectionOptions extends StageOptions {
  readonly socket: Socket;
  readonly hostKey: HostKeySeen;
  readonly algorithms: NegotiatedAlgorithms;
}

/** Whether a connection still stands, for those who wait on one of its channels. */
export interface Line {
  /** Why the connection broke; undefined while it stands. */
  readonly broken: DeviceError | undefined;
  /** Calls `listener` when the connection breaks; gives a function that stops it. */
  onBreak(listener: (error: DeviceError) => void): () => void;
}

interface OpenOptions<T> {
  readonly signal: AbortSignal;
  readonly request: (
    done: (error: Error | undefined, channel: ssh2.ClientChannel) => void,
  ) => void;
  /** Called in the callback itself: what the device sends in the same packet must find its listeners. */
  readonly adopt: (channel: ssh2.ClientChannel) => T;
}

/** Wraps a client that is logged in. */
export function openConnection(
  client: ssh2.Client,
  options: ConnectionOptions,
): DeviceConnection {
  return new ClientConnection(client, options);
}

class ClientConnection implements DeviceConnection, Line {
  readonly #client: ssh2.Client;
  readonly #options: ConnectionOptions;
  readonly #listeners = new Set<(error: DeviceError) => void>();
  #broken: DeviceError | undefined;

  constructor(client: ssh2.Client, options: ConnectionOptions) {
    this.#client = client;
    this.#options = options;
    client
      .on("error", (error) => this.#break(toDeviceError(error, "session", options)))
      .on("end", () => this.#break(this.#closed()))
      .on("close", () => this.#break(this.#closed()));
    // It may have broken between the login and this line.
    if (options.socket.destroyed) this.#break(this.#closed());
  }

  get hostKey(): HostKeySeen {
    return this.#options.hostKey;
  }

  get algorithms(): NegotiatedAlgorithms {
    return this.#options.algorithms;
  }

  get broken(): DeviceError | undefined {
    return this.#broken;
  }

  onBreak(listener: (error: DeviceError) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async openShell(terminal: Terminal, options: { readonly signal: AbortSignal }): Promise<Shell> {
    const window = { term: terminal.term, cols: terminal.columns, rows: terminal.rows };
    // No environment is ever sent: some platforms (IOS XR) drop the session at an `env` request.
    return await this.#open("open a shell on", {
      ...options,
      request: (done) => this.#client.shell(window, done),
      adopt: (channel) => new ChannelShell(channel, this),
    });
  }

  async exec(command: string, options: ExecOptions): Promise<ExecResult> {
    const running = await this.#open("run a command on", {
      ...options,
      request: (done) => this.#client.exec(command, done),
      adopt: (channel) =>
        new Command(channel, { ...options, where: this.#options.where, line: this }),
    });
    return await running.result();
  }

  async close(): Promise<void> {
    const { socket } = this.#options;
    if (socket.closed) return;
    try {
      this.#client.end();
    } catch {
      // The connection broke while saying good-bye; it is destroyed below.
    }
    const ended = Promise.withResolvers<void>();
    const timer = setTimeout(ended.resolve, CLOSE_SECONDS * 1_000);
    socket.once("close", () => ended.resolve());
    await ended.promise;
    clearTimeout(timer);
    await destroySocket(socket);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #open<T>(doing: string, options: OpenOptions<T>): Promise<T> {
    const { where, seconds } = this.#options;
    const opened = Promise.withResolvers<T>();
    let waiting = true;
    const refuse = (error: unknown) =>
      opened.reject(this.#broken ?? refused(error, `${doing} ${where}`));
    const stopListening = this.onBreak((error) => opened.reject(error));
    try {
      options.request((error, channel) => {
        if (error) return refuse(error);
        // An error event that nobody listens to would end the process.
        channel.on("error", () => {});
        channel.stderr.on("error", () => {});
        if (waiting) opened.resolve(options.adopt(channel));
        else channel.close();
      });
    } catch (error) {
      refuse(error);
    }
    try {
      return await within(opened.promise, {
        signal: options.signal,
        seconds,
        onTimeout: () =>
          new DeviceError("idle_timed_out", `Cannot ${doing} ${where}: no answer in ${seconds} s`),
      });
    } finally {
      waiting = false;
      stopListening();
    }
  }

  #closed(): DeviceError {
    return new DeviceError(
      "connection_lost",
      `Cannot go on with ${this.#options.where}: it closed the connection`,
    );
  }

  #break(error: DeviceError): void {
    if (this.#broken) return;
    const { signal } = this.#options;
    // An abort destroys the socket, and what is seen here is only the echo of that.
    const broken = signal.aborted ? abortError(signal) : error;
    this.#broken = broken;
    for (const listener of [...this.#listeners]) listener(broken);
    this.#listeners.clear();
  }
}

function refused(error: unknown, doing: string): DeviceError {
  const words = error instanceof Error ? error.message : String(error);
  return new DeviceError("channel_refused", `Cannot ${doing}: ${plainText(words, 300)}`, {
    cause: error,
  });
}

/** Whether the device itself has ended a channel, by an end of file or a close, as opposed to a broken connection. */
export function endedByDevice(channel: ssh2.ClientChannel): boolean {
  const incoming: unknown = channel.incoming;
  return typeof incoming === "object" && incoming !== null && "state" in incoming &&
    incoming.state !== "open";
}
