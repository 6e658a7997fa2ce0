import ssh2, { type ClientChannel, type ConnectConfig } from "ssh2";
import { Buffer } from "node:buffer";
import { endCiphers } from "./end_ciphers.ts";
import { fingerprintOf } from "./key_pair.ts";
import type { Login } from "./login.ts";

/** A bare client of ssh2 for the tests of the farm itself: no engine, no retries, every byte visible. */
export interface RawClient extends AsyncDisposable {
  readonly fingerprint: string;
  exec(command: string): Promise<ExecResult>;
  shell(): Promise<RawShell>;
  /** Resolves with the error, or undefined, when the connection is closed. */
  readonly closed: Promise<Error | undefined>;
}

export interface ExecResult {
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly status: number | undefined;
}

export interface RawShell {
  /** Everything received so far. */
  readonly seen: string;
  /** Resolves when the channel is closed. */
  readonly ended: Promise<void>;
  send(text: string): void;
  /** Waits until what was received since the last call of `until` matches; gives that text. */
  until(pattern: RegExp, options?: { readonly milliseconds?: number }): Promise<string>;
}

export interface RawClientOptions extends Pick<ConnectConfig, "algorithms"> {
  readonly readyMilliseconds?: number;
}

interface Address {
  readonly host: string;
  readonly port: number;
}

/** Logs in; throws ssh2's error when that fails. */
export async function connectRaw(
  { host, port }: Address,
  login: Login,
  options: RawClientOptions = {},
): Promise<RawClient> {
  const client = new ssh2.Client();
  const ready = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<Error | undefined>();
  let fingerprint = "";
  let failure: Error | undefined;
  client.on("error", (error) => {
    failure ??= error;
    ready.reject(error);
  });
  client.on("close", () => {
    endCiphers(client);
    closed.resolve(failure);
    ready.reject(failure ?? new Error("closed before ready"));
  });
  client.on("connect", () => client.setNoDelay(true));
  client.on("ready", () => ready.resolve());
  client.on("keyboard-interactive", (_name, _text, _language, _prompts, finish) => {
    finish([login.password ?? ""]);
  });
  client.connect({
    host,
    port,
    ...credentialsOf(login),
    readyTimeout: options.readyMilliseconds ?? 5_000,
    algorithms: { compress: ["none"], ...options.algorithms },
    hostVerifier: (key: Buffer) => {
      fingerprint = fingerprintOf(key);
      return true;
    },
  });
  try {
    await ready.promise;
  } catch (error) {
    client.destroy();
    throw error;
  }
  return {
    fingerprint,
    closed: closed.promise,
    exec: (command) => runCommand(client, command),
    shell: () => openShell(client),
    async [Symbol.asyncDispose]() {
      client.end();
      const timer = setTimeout(() => client.destroy(), 500);
      await closed.promise;
      clearTimeout(timer);
    },
  };
}

function credentialsOf({ username, methods, password, keyPair }: Login): ConnectConfig {
  if (methods.includes("publickey") && keyPair) {
    const { privateKey, passphrase } = keyPair;
    return { username, privateKey, ...(passphrase === undefined ? {} : { passphrase }) };
  }
  const secret = password ?? "";
  return methods.includes("password")
    ? { username, password: secret }
    : { username, tryKeyboard: true };
}

function runCommand(client: ssh2.Client, command: string): Promise<ExecResult> {
  const { promise, resolve, reject } = Promise.withResolvers<ExecResult>();
  client.once("close", () => reject(new Error("connection closed during exec")));
  client.exec(command, (error, channel) => {
    if (error) return reject(error);
    const chunks: Buffer[] = [];
    let stderr = "";
    let status: number | undefined;
    channel.on("data", (chunk: Buffer) => chunks.push(chunk));
    channel.stderr.on("data", (chunk: Buffer) => stderr += chunk.toString());
    channel.on("exit", (code) => status = code ?? undefined);
    channel.on("close", () => resolve({ stdout: Buffer.concat(chunks), stderr, status }));
  });
  return promise;
}

async function openShell(client: ssh2.Client): Promise<RawShell> {
  const { promise, resolve, reject } = Promise.withResolvers<ClientChannel>();
  client.once("close", () => reject(new Error("connection closed before a shell")));
  client.shell({ term: "vt100", cols: 511, rows: 1_000 }, (error, channel) => {
    if (error) reject(error);
    else resolve(channel);
  });
  return makeRawShell(await promise);
}

function makeRawShell(channel: ClientChannel): RawShell {
  let seen = "";
  let read = 0;
  let ended = false;
  const ending = Promise.withResolvers<void>();
  let wake = () => {};
  const decoder = new TextDecoder();
  channel.on("data", (chunk: Buffer) => {
    seen += decoder.decode(chunk, { stream: true });
    wake();
  });
  channel.stderr.resume();
  channel.on("close", () => {
    ended = true;
    ending.resolve();
    wake();
  });
  async function until(
    pattern: RegExp,
    { milliseconds = 5_000 }: { readonly milliseconds?: number } = {},
  ): Promise<string> {
    const deadline = performance.now() + milliseconds;
    for (;;) {
      const match = pattern.exec(seen.slice(read));
      if (match) {
        const end = read + match.index + match[0].length;
        const text = seen.slice(read, end);
        read = end;
        return text;
      }
      const left = deadline - performance.now();
      if (ended || left <= 0) {
        throw new Error(`${pattern} never came; the last of it: ${seen.slice(-200)}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
  return {
    until,
    send: (text) => channel.write(text),
    get seen() {
      return seen;
    },
    ended: ending.promise,
  };
}
