import type { Capture } from "@rookery/shared/drivers/driver.ts";
import { capturesOf } from "@rookery/shared/drivers/mod.ts";
import type {
  CaptureOutcome,
  DeviceFacts,
  HostKeySeen,
} from "@rookery/shared/jobs/backup_config.ts";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import { DeviceError } from "../ssh/ssh_failure.ts";
import type { NegotiatedAlgorithms } from "../ssh/transport.ts";
import { type CaptureReading, readCapture } from "./capture.ts";
import type { RunCommand } from "./command.ts";
import { openCommandLine } from "./command_line.ts";
import { readFacts } from "./facts.ts";
import {
  connectTo,
  type DeviceOrder,
  type OnStep,
  type SessionOptions,
  withinLimits,
} from "./order.ts";

/** What to back up of a device. */
export interface BackupOrder extends DeviceOrder {
  readonly kind: "backup_config";
  /** Names of the driver's captures; empty means all. */
  readonly captures: readonly string[];
  readonly baselines: LeaseClaims["baselines"];
}

/** What a session read; every capture in it is proven complete. */
export interface BackupReport {
  readonly kind: "backup_config";
  readonly captures: readonly { readonly outcome: CaptureOutcome; readonly raw: Uint8Array }[];
  readonly facts: DeviceFacts;
  readonly hostKey: HostKeySeen;
  readonly algorithms: NegotiatedAlgorithms;
}

/**
 * Backs up one device: connects, logs in, reads every capture to its proof and then the facts. Throws a `DeviceError`
 * otherwise, see `withinLimits`. All or nothing: one incomplete capture fails the session.
 */
export function backUpDevice(
  order: BackupOrder,
  options: SessionOptions,
): Promise<BackupReport> {
  return withinLimits(order, options, (signal) => backUp(order, { ...options, signal }));
}

async function backUp(
  order: BackupOrder,
  { signal, onStep }: SessionOptions,
): Promise<BackupReport> {
  const captures = namedCaptures(order);
  const connection = await connectTo(order, { signal, onStep });
  try {
    const line = await openCommandLine(connection, {
      driver: order.driver,
      secrets: order.credential,
      idleSeconds: order.limits.idleSeconds,
      signal,
    });
    const readings = await readCaptures(line.run, { order, captures, onStep });
    onStep?.("reading facts", 90);
    const known = new Map(readings.map(({ command, raw }) => [command, raw]));
    const facts = await readFacts(line.run, { driver: order.driver, known });
    onStep?.("logging out", 95);
    await line.logOut();
    return {
      kind: "backup_config",
      captures: readings.map(({ outcome, raw }) => ({ outcome, raw })),
      facts,
      hostKey: connection.hostKey,
      algorithms: connection.algorithms,
    };
  } finally {
    await connection.close();
  }
}

function namedCaptures({ driver, captures }: BackupOrder): readonly Capture[] {
  try {
    return capturesOf(driver, captures);
  } catch (cause) {
    throw new DeviceError("lease_invalid", "The job names a capture that its driver lacks", {
      cause,
    });
  }
}

/** The limit on bytes is one for all captures of the session, so that no more than it is ever kept. */
async function readCaptures(
  run: RunCommand,
  { order, captures, onStep }: {
    order: BackupOrder;
    captures: readonly Capture[];
    onStep: OnStep | undefined;
  },
): Promise<readonly CaptureReading[]> {
  const readings: CaptureReading[] = [];
  let maxBytes = order.limits.maxBytes;
  for (const [index, capture] of captures.entries()) {
    onStep?.(`reading ${capture.name}`, Math.floor(30 + 60 * index / captures.length));
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
