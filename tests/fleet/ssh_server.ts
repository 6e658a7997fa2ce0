import { releaseCiphers } from "../../agent/ssh/cipher_release.ts";
import { connect, type ConnectOptions } from "../../agent/ssh/connect.ts";
import { DeviceError } from "../../agent/ssh/ssh_failure.ts";
import type { DeviceConnection } from "../../agent/ssh/transport.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import ssh2 from "ssh2";
import { type HostKey, makeHostKey } from "../support/farm/key_pair.ts";

/** A server on a loopback port, with a hold on the sockets that it accepted. */
export interface TestServer extends AsyncDisposable {
  readonly port: number;
  /** How many connections were accepted so far. */
  readonly accepted: number;
  /** Waits until the other side of every connection has closed it. */
  allClosed(): Promise<void>;
}

/** Serves bare sockets: for devices that do not get as far as SSH. */
export async function startSocketServer(serve: (socket: Socket) => void): Promise<TestServer> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    accepted++;
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    // A socket that nobody reads never sees that the other side has closed.
    socket.resume();
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(address && typeof address === "object");
  async function allClosed(): Promise<void> {
    await Promise.all(
      [...sockets].map((socket) =>
        new Promise<void>((resolve) =>
          socket.closed ? resolve() : socket.once("close", () => resolve())
        )
      ),
    );
  }
  return {
    port: address.port,
    get accepted() {
      return accepted;
    },
    allClosed,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await allClosed();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** How a test's SSH server behaves; by default it lets `netops` in with `PASSWORD` and offers no channel. */
export interface SshServerOptions {
  readonly hostKeys?: readonly HostKey[];
  readonly algorithms?: ssh2.Algorithms;
  readonly authenticate?: (context: ssh2.AuthContext, attempt: number) => void;
  readonly serve?: (connection: ssh2.Connection, socket: Socket) => void;
}

/** An SSH server that keeps the methods by which somebody tried to log in. */
export interface SshServer extends TestServer {
  readonly hostKey: HostKey;
  readonly attempts: readonly string[];
  /** How many clients have completed a key exchange: a client that refuses the host key does not. */
  readonly keyExchanges: number;
}

export const PASSWORD = "correct horse 1";

/** Starts a real ssh2 server. */
export async function startSshServer(options: SshServerOptions = {}): Promise<SshServer> {
  const hostKeys = options.hostKeys ?? [makeHostKey()];
  const attempts: string[] = [];
  let keyExchanges = 0;
  const authenticate = options.authenticate ?? acceptPassword;
  const server = await startSocketServer((socket) => {
    const ssh = new ssh2.Server({
      hostKeys: hostKeys.map((key) => key.privateKey),
      algorithms: options.algorithms ?? {
        compress: ["none"],
        kex: ["curve25519-sha256", "ecdh-sha2-nistp256"],
      },
    }, (connection) => {
      releaseCiphers(connection, socket);
      connection.on("error", () => {});
      connection.on("handshake", () => keyExchanges++);
      connection.on("authentication", (context) => {
        context.on("abort", () => {});
        attempts.push(context.method);
        authenticate(context, attempts.length);
      });
      options.serve?.(connection, socket);
    });
    ssh.injectSocket(socket);
  });
  const [hostKey] = hostKeys;
  assert.ok(hostKey);
  return {
    hostKey,
    attempts,
    get keyExchanges() {
      return keyExchanges;
    },
    port: server.port,
    get accepted() {
      return server.accepted;
    },
    allClosed: server.allClosed,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Accepts `PASSWORD` by the method `password` only. */
export function acceptPassword(context: ssh2.AuthContext): void {
  if (context.method === "password" && context.password === PASSWORD) context.accept();
  else context.reject(["password"]);
}

/** What `connect` is given in a test that does not say otherwise. */
export function connectOptions(
  port: number,
  options: Partial<ConnectOptions> = {},
): ConnectOptions {
  return {
    host: "127.0.0.1",
    port,
    username: "netops",
    password: PASSWORD,
    hostKeyPolicy: "first_use",
    hostKeys: [],
    legacyAlgorithms: false,
    connectSeconds: 5,
    signal: new AbortController().signal,
    ...options,
  };
}

/** Connects with the options of `connectOptions`. */
export async function connectTo(
  port: number,
  options: Partial<ConnectOptions> = {},
): Promise<DeviceConnection> {
  return await connect(connectOptions(port, options));
}

/** Waits for a failure with that code and gives it. */
export async function failure(work: Promise<unknown>, code: FailureCode): Promise<DeviceError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof DeviceError, `not a DeviceError: ${error}`);
    assert.equal(error.code, code, error.message);
    assert.ok(error.message.length <= 2_000);
    return error;
  }
  assert.fail(`Expected ${code}, but it succeeded`);
}

/** Limits that no test means to reach. */
export const ROOMY = {
  signal: new AbortController().signal,
  maxBytes: 10_000_000,
  idleSeconds: 10,
} as const;
