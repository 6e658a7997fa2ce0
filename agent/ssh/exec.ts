import { Buffer } from "node:buffer";
// @ts-types="@types/ssh2"
import type ssh2 from "ssh2";
import { type PatientTimer, startPatientTimer } from "./patient_timer.ts";
import { endedByDevice, type Line } from "./connection.ts";
import { abortError, DeviceError } from "./ssh_failure.ts";
import type { ExecOptions, ExecResult } from "./transport.ts";

const MAX_STDERR_BYTES = 64 * 1024;

/** What a command on an open channel needs besides its limits. */
export interface RunOptions extends ExecOptions {
  /** `host:port`, for messages. */
  readonly where: string;
  readonly line: Line;
}

/**
 * One command on an open channel: collects what it sends until the device ends it. To be made in the very callback that opens
 * the channel, or a status in the same packet as the answer is missed.
 */
export class Command {
  readonly #channel: ssh2.ClientChannel;
  readonly #options: RunOptions;
  readonly #done = Promise.withResolvers<ExecResult>();
  readonly #stdout: Buffer[] = [];
  readonly #stderr: Buffer[] = [];
  #stdoutBytes = 0;
  #stderrBytes = 0;
  #exitStatus: number | undefined;
  #exited = false;
  #ended = false;
  #timer: PatientTimer | undefined;

  constructor(channel: ssh2.ClientChannel, options: RunOptions) {
    this.#channel = channel;
    this.#options = options;
    this.#listen();
    this.#restartTimer();
  }

  /** Waits for the end; the channel is closed in every case. */
  async result(): Promise<ExecResult> {
    const { signal, line } = this.#options;
    const onAbort = () => this.#done.reject(abortError(signal));
    signal.addEventListener("abort", onAbort, { once: true });
    const stopListening = line.onBreak(() => this.#onBreak());
    if (signal.aborted) onAbort();
    if (line.broken) this.#onBreak();
    try {
      return await this.#done.promise;
    } finally {
      this.#timer?.cancel();
      this.#timer = undefined;
      signal.removeEventListener("abort", onAbort);
      stopListening();
      this.#release();
    }
  }

  #listen(): void {
    this.#channel
      .on("exit", (status: number | null) => {
        this.#exited = true;
        this.#exitStatus = status ?? undefined;
        this.#finishWhenComplete();
      })
      .on("data", (chunk: Buffer) => this.#onStdout(chunk))
      .on("end", () => {
        this.#ended = true;
        this.#finishWhenComplete();
      })
      .on("close", () => this.#onClose());
    this.#channel.stderr.on("data", (chunk: Buffer) => this.#onStderr(chunk));
  }

  /** Comes after the last byte, also when the connection broke: then #onBreak() was first. */
  #onClose(): void {
    this.#finish();
  }

  #onBreak(): void {
    const { broken } = this.#options.line;
    if (broken && !endedByDevice(this.#channel)) this.#done.reject(broken);
  }

  #onStdout(chunk: Buffer): void {
    this.#restartTimer();
    this.#stdoutBytes += chunk.length;
    if (this.#stdoutBytes > this.#options.maxBytes) {
      this.#stdout.length = 0;
      this.#done.reject(
        new DeviceError(
          "configuration_too_large",
          `Cannot take the output of ${this.#options.where}: more than ${this.#options.maxBytes} bytes`,
        ),
      );
      // Not one more byte is wanted; the window closes behind it.
      this.#channel.pause();
      return;
    }
    this.#stdout.push(chunk);
  }

  #onStderr(chunk: Buffer): void {
    this.#restartTimer();
    const room = MAX_STDERR_BYTES - this.#stderrBytes;
    if (room > 0) this.#stderr.push(chunk.subarray(0, room));
    this.#stderrBytes += chunk.length;
  }

  /** Some devices send the status and the end but never close the channel. */
  #finishWhenComplete(): void {
    if (this.#exited && this.#ended) this.#finish();
  }

  #finish(): void {
    this.#done.resolve({
      stdout: Buffer.concat(this.#stdout),
      stderr: Buffer.concat(this.#stderr).toString("utf8"),
      exitStatus: this.#exitStatus,
    });
  }

  #restartTimer(): void {
    this.#timer?.cancel();
    const { idleSeconds, where } = this.#options;
    this.#timer = startPatientTimer(idleSeconds * 1_000, () =>
      this.#done.reject(
        new DeviceError(
          "idle_timed_out",
          `Cannot finish the command on ${where}: nothing came for ${idleSeconds} s`,
        ),
      ));
  }

  /** Lets go of a channel, whatever state it is in; a rest that still comes is thrown away. */
  #release(): void {
    this.#channel.removeAllListeners("data");
    this.#channel.stderr.removeAllListeners("data");
    if (this.#options.line.broken) return;
    this.#channel.close();
    this.#channel.resume();
    this.#channel.stderr.resume();
  }
}
