import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { within } from "./deadline.ts";
import { DeviceError, toDeviceError } from "./ssh_failure.ts";

/** How one stage of connecting is bounded, and how the device is called in messages. */
export interface StageOptions {
  readonly signal: AbortSignal;
  readonly seconds: number;
  /** `host:port`, for messages. */
  readonly where: string;
}

/** Opens a TCP connection to the first address that accepts one; all of them share the stage's seconds. */
export async function openSocket(
  target: { readonly addresses: readonly string[]; readonly port: number },
  options: StageOptions,
): Promise<Socket> {
  const seconds = options.seconds / target.addresses.length;
  let failure = new DeviceError(
    "address_unresolved",
    `Cannot resolve ${options.where}: no address`,
  );
  for (const address of target.addresses) {
    try {
      return await openTo(address, { ...options, seconds, port: target.port });
    } catch (error) {
      failure = toDeviceError(error, "connect", options);
      if (options.signal.aborted) break;
    }
  }
  throw failure;
}

async function openTo(
  address: string,
  options: StageOptions & { readonly port: number },
): Promise<Socket> {
  // Without noDelay every login pays 40 ms four or five times (Nagle against delayed acknowledgements).
  const socket = connect({ host: address, port: options.port, noDelay: true });
  // An error after the hand-over is reported by whoever owns the socket then; without this one it could end the process.
  socket.on("error", () => {});
  try {
    await within(once(socket, "connect"), {
      ...options,
      onTimeout: () =>
        new DeviceError(
          "connect_timed_out",
          `Cannot connect to ${options.where}: ${address} did not answer in ${options.seconds} s`,
        ),
    });
    return socket;
  } catch (error) {
    await destroySocket(socket);
    throw error;
  }
}

/** Destroys a socket and waits until it is gone. */
export async function destroySocket(socket: Socket): Promise<void> {
  if (socket.closed) return;
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.destroy();
  await closed;
}
