import type { Capture, Driver } from "@rookery/shared/drivers/driver.ts";
import { capturesOf } from "@rookery/shared/drivers/mod.ts";
import type {
  CaptureOutcome,
  DeviceFacts,
  HostKeySeen,
} from "@rookery/shared/jobs/backup_config.ts";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import { connect } from "../ssh/connect.ts";
import { abortError, DeviceError, toDeviceError } from "../ssh/ssh_failure.ts";
import type { DeviceConnection, NegotiatedAlgorithms } from "../ssh/transport.ts";
import { type CaptureReading, readCapture } from "./capture.ts";
import type { RunCommand } from "./command.ts";
import { openCommandLine } from "./command_line.ts";
import { readFacts } from "./facts.ts";

/** What to back up, with what, and within which limits. Fields have the meaning they have in the lease. */
export interface SessionOrder {
  readonly driver: Driver;
  readonly target: { readonly host: string; readonly port: number };
  /** What the host's name was resolved to already, if it was; the local policy is asked about them again. */
  readonly addresses?: readonly string[];
  readonly credential: {
    readonly username: string;
    readonly password?: string | undefined;
    readonly privateKey?: string | undefined;
    readonly passphrase?: string | undefined;
    readonly enableSecret?: string | undefined;
  };
  readonly hostKeyPolicy: LeaseClaims["device"]["hostKeyPolicy"];
  readonly hostKeys: readonly HostKeySeen[];
  readonly legacyAlgorithms: boolean;
  readonly limits: LeaseClaims["limits"];
  /** Names of the driver's captures; empty means all. */
  readonly captures: readonly string[];
  readonly baselines: LeaseClaims["baselines"];
  /** The local policy's word on the address that was resolved. */
  readonly allowAddress?: (address: string) => boolean;
}

/** What a session read; every capture in it is proven complete. */
export interface SessionReport {
  readonly captures: readonly { readonly outcome: CaptureOutcome; readonly raw: Uint8Array }[];
  readonly facts: DeviceFacts;
  readonly hostKey: HostKeySeen;
  readonly algorithms: NegotiatedAlgorithms;
}

/**
 * Backs up one device: connects, logs in, reads every capture to its proof and then the facts. Throws a
 * `DeviceError` otherwise; an aborted signal ends it within two seconds with the signal's reason when that is
 * a `DeviceError`, else with `cancelled`. All or nothing: one incomplete capture fails the session.
 */
export async function backUpDevice(
  order: SessionOrder,
  { signal }: { readonly signal: AbortSignal },
): Promise<SessionReport> {
  const total = new AbortController();
  const cancel = () => total.abort(abortError(signal));
  const expire = () => total.abort(new DeviceError("total_timed_out"));
  const timer = setTimeout(expire, order.limits.totalSeconds * 1_000);
  signal.addEventListener("abort", cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    const report = await runSession(order, total.signal);
    // Facts are read with errors forgiven, but a session that was taken away reports nothing.
    if (signal.aborted) throw abortError(signal);
    return report;
  } catch (error) {
    throw total.signal.aborted ? abortError(total.signal) : toDeviceError(error, "session");
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", cancel);
  }
}

async function runSession(order: SessionOrder, signal: AbortSignal): Promise<SessionReport> {
  const captures = namedCaptures(order);
  const connection = await connectTo(order, signal);
  try {
    const line = await openCommandLine(connection, {
      driver: order.driver,
      secrets: order.credential,
      idleSeconds: order.limits.idleSeconds,
      signal,
    });
    const readings = await readCaptures(line.run, { order, captures });
    const known = new Map(readings.map(({ command, raw }) => [command, raw]));
    const facts = await readFacts(line.run, { driver: order.driver, known });
    await line.logOut();
    return {
      captures: readings.map(({ outcome, raw }) => ({ outcome, raw })),
      facts,
      hostKey: connection.hostKey,
      algorithms: connection.algorithms,
    };
  } finally {
    await connection.close();
  }
}

function namedCaptures({ driver, captures }: SessionOrder): readonly Capture[] {
  try {
    return capturesOf(driver, captures);
  } catch (cause) {
    throw new DeviceError("lease_invalid", "The job names a capture that its driver lacks", {
      cause,
    });
  }
}

function connectTo(order: SessionOrder, signal: AbortSignal): Promise<DeviceConnection> {
  const { username, password, privateKey, passphrase } = order.credential;
  return connect({
    ...order.target,
    addresses: order.addresses,
    username,
    ...password !== undefined && { password },
    ...privateKey !== undefined && { privateKey },
    ...passphrase !== undefined && { passphrase },
    hostKeyPolicy: order.hostKeyPolicy,
    hostKeys: order.hostKeys,
    legacyAlgorithms: order.legacyAlgorithms,
    connectSeconds: order.limits.connectSeconds,
    ...order.allowAddress && { allowAddress: order.allowAddress },
    signal,
  });
}

/** The limit on bytes is one for all captures of the session, so that no more than it is ever kept. */
async function readCaptures(
  run: RunCommand,
  { order, captures }: { order: SessionOrder; captures: readonly Capture[] },
): Promise<readonly CaptureReading[]> {
  const readings: CaptureReading[] = [];
  let maxBytes = order.limits.maxBytes;
  for (const capture of captures) {
    const reading = await readCapture(run, {
      driver: order.driver,
      capture,
      baseline: order.baselines[capture.name],
      shrinkPercent: order.limits.shrinkPercent,
      maxBytes,
    });
    readings.push(reading);
    maxBytes -= reading.raw.length;
  }
  return readings;
}
