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
import { readFacts } from "./facts.ts";
import { onCommandLine } from "./on_command_line.ts";
import type { DeviceOrder, OnStep, SessionOptions } from "./order.ts";

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
export async function backUpDevice(
  order: BackupOrder,
  options: SessionOptions,
): Promise<BackupReport> {
  // Before the device is touched: a name that is none is no reason to log in.
  const captures = namedCaptures(order);
  const { onStep } = options;
  const { result, ...session } = await onCommandLine(order, options, async ({ run }) => {
    const readings = await readCaptures(run, { order, captures, onStep });
    onStep?.("reading facts", 90);
    const known = new Map(readings.map(({ command, raw }) => [command, raw]));
    return { readings, facts: await readFacts(run, { driver: order.driver, known }) };
  });
  return {
    kind: "backup_config",
    captures: result.readings.map(({ outcome, raw }) => ({ outcome, raw })),
    facts: result.facts,
    ...session,
  };
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
