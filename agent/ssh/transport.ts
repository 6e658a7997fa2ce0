import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";

/** The size and kind of terminal that a shell is opened with. */
export interface Terminal {
  readonly term: string;
  readonly columns: number;
  readonly rows: number;
}

/** An interactive channel. One reader at a time; an aborted read loses no bytes, so a reader may poll for quiet. */
export interface Shell extends AsyncDisposable {
  /** Sends text. Writing to a channel that the device has closed does nothing: the next read tells. */
  write(text: string): void;
  /**
   * The next bytes, never an empty array; undefined when the device closed the channel. Throws a `DeviceError`
   * `connection_lost` when the connection broke instead, after what had arrived was read.
   */
  read(options: { readonly signal: AbortSignal }): Promise<Uint8Array | undefined>;
}

/** Limits of one command. */
export interface ExecOptions {
  readonly signal: AbortSignal;
  /** More output than this ends the command with `configuration_too_large`. */
  readonly maxBytes: number;
  /** A pause longer than this ends the command with `idle_timed_out`. */
  readonly idleSeconds: number;
}

/** What one command gave. */
export interface ExecResult {
  readonly stdout: Uint8Array;
  /** At most the first 64 KiB. */
  readonly stderr: string;
  /** Undefined when the channel was closed without a status, or when a signal ended the command. */
  readonly exitStatus: number | undefined;
}

/** The SSH algorithms that were negotiated; `mac` is `implicit` with an authenticated cipher. */
export interface NegotiatedAlgorithms {
  readonly kex: string;
  readonly cipher: string;
  readonly mac: string;
  readonly hostKey: string;
}

/** A connection whose host key is accepted and whose login succeeded. All errors are `DeviceError`s. */
export interface DeviceConnection extends AsyncDisposable {
  readonly hostKey: HostKeySeen;
  readonly algorithms: NegotiatedAlgorithms;
  openShell(terminal: Terminal, options: { readonly signal: AbortSignal }): Promise<Shell>;
  exec(command: string, options: ExecOptions): Promise<ExecResult>;
  /** Ends the connection politely, and by force after two seconds; safe to call twice. */
  close(): Promise<void>;
}
