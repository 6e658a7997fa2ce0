import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import type { ReachStage } from "@rookery/shared/jobs/check_reachability.ts";
import type { HostKeyPolicy } from "@rookery/shared/jobs/lease.ts";
import type { Socket } from "node:net";
import { resolveAddresses } from "./address.ts";
import { handshake } from "./handshake.ts";
import { awaitIdent } from "./ident.ts";
import { readPrivateKey } from "./private_key.ts";
import { destroySocket, openSocket, type StageOptions } from "./socket.ts";
import { abortError } from "./ssh_failure.ts";
import type { DeviceConnection } from "./transport.ts";
import { markTurn, turnMarker } from "./turn.ts";

/** Where to connect, as whom, and what must hold. */
export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  /** What the host's name was resolved to already, if it was. */
  readonly addresses?: readonly string[] | undefined;
  readonly username: string;
  readonly password?: string | undefined;
  readonly privateKey?: string | undefined;
  readonly passphrase?: string | undefined;
  readonly hostKeyPolicy: HostKeyPolicy;
  /** The pinned keys; with any, only these are accepted. */
  readonly hostKeys: readonly HostKeySeen[];
  readonly legacyAlgorithms: boolean;
  /** For each stage: name look-up, TCP, banner, key exchange, login; also for opening a channel later. */
  readonly connectSeconds: number;
  /** Ends the connection at once, during `connect` and ever after. */
  readonly signal: AbortSignal;
  /** The agent's local policy, asked after the name look-up; everything is allowed without it. */
  readonly allowAddress?: ((address: string) => boolean) | undefined;
  /** Told of every stage that was passed. */
  readonly onStage?: ((passed: PassedStage) => void) | undefined;
}

/** A stage on the way to a device, and what was seen there: the address, or the identification line. */
export interface PassedStage {
  readonly stage: ReachStage;
  readonly seen?: string | undefined;
}

/**
 * Connects, checks the host key and logs in; no secret is sent before the host key is accepted. Throws a `DeviceError` whose
 * code tells the stage that failed, and leaves no socket behind.
 */
export async function connect(options: ConnectOptions): Promise<DeviceConnection> {
  if (options.signal.aborted) throw abortError(options.signal);
  markTurn();
  const key = options.privateKey === undefined
    ? undefined
    : readPrivateKey(options.privateKey, options.passphrase);
  const { socket, stage } = await openTo(options);
  return await orDestroy(socket, options, async () => {
    await meet(socket, { ...options, stage });
    const { username, password } = options;
    const secrets = { username, password, key, where: stage.where };
    const connection = await handshake(socket, { ...options, ...stage, secrets });
    options.onStage?.({ stage: "login" });
    return connection;
  });
}

/** Goes as far as the device's SSH identification, and leaves. Throws a `DeviceError` as `connect` does. */
export async function knock(options: KnockOptions): Promise<void> {
  if (options.signal.aborted) throw abortError(options.signal);
  markTurn();
  const { socket, stage } = await openTo(options);
  await orDestroy(socket, options, () => meet(socket, { ...options, stage }));
  await destroySocket(socket);
}

type KnockOptions = Pick<
  ConnectOptions,
  "host" | "port" | "addresses" | "connectSeconds" | "signal" | "allowAddress" | "onStage"
>;

async function openTo(options: KnockOptions): Promise<{ socket: Socket; stage: StageOptions }> {
  const where = options.host.includes(":")
    ? `[${options.host}]:${options.port}`
    : `${options.host}:${options.port}`;
  const stage = { signal: options.signal, seconds: options.connectSeconds, where };
  const addresses = await resolveAddresses(options.host, {
    ...stage,
    allowAddress: options.allowAddress ?? (() => true),
    addresses: options.addresses,
  });
  const socket = await openSocket({ addresses, port: options.port }, stage);
  destroyOnAbort(socket, options.signal);
  guardWrites(socket);
  return { socket, stage };
}

async function meet(
  socket: Socket,
  { onStage, stage }: Pick<ConnectOptions, "onStage"> & { readonly stage: StageOptions },
): Promise<void> {
  onStage?.({ stage: "tcp", seen: socket.remoteAddress });
  // Not inside the optional call, which would not even wait for it when nobody listens.
  const ident = await awaitIdent(socket, stage);
  onStage?.({ stage: "banner", seen: ident });
}

async function orDestroy<Result>(
  socket: Socket,
  { signal }: Pick<ConnectOptions, "signal">,
  run: () => Promise<Result>,
): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    await destroySocket(socket);
    // A destroyed socket looks like a lost connection; the abort is why it was destroyed.
    throw signal.aborted ? abortError(signal) : error;
  }
}

function destroyOnAbort(socket: Socket, signal: AbortSignal): void {
  const onAbort = () => void socket.destroy();
  if (signal.aborted) return onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  socket.once("close", () => signal.removeEventListener("abort", onAbort));
}

/** Every byte to a device passes here: a session whose thread was given up says nothing more, not even good-bye. */
function guardWrites(socket: Socket): void {
  const mark = turnMarker();
  const write = socket.write.bind(socket);
  socket.write = ((...args: Parameters<Socket["write"]>) => {
    mark();
    return write(...args);
  }) as Socket["write"];
}
