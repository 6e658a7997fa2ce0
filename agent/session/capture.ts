import { sha256 } from "@rookery/shared/canonical_json.ts";
import { type Completeness, judgeCompleteness } from "@rookery/shared/drivers/completeness.ts";
import type { Capture, Driver } from "@rookery/shared/drivers/driver.ts";
import { normalisedSha256 } from "@rookery/shared/drivers/normalise.ts";
import type { Sha256 } from "@rookery/shared/ids.ts";
import type { CaptureOutcome } from "@rookery/shared/jobs/backup_config.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import type { CaptureBaseline } from "@rookery/shared/jobs/lease.ts";
import { hasShrunk } from "@rookery/shared/jobs/shrink.ts";
import { DeviceError } from "../ssh/ssh_failure.ts";
import { markTurn } from "../ssh/turn.ts";
import type { CommandOutput, RunCommand } from "./command.ts";

/** One capture, proven complete, with its exact bytes. */
export interface CaptureReading {
  readonly outcome: CaptureOutcome;
  readonly raw: Uint8Array;
  /** The command that gave it. */
  readonly command: string;
}

export interface CaptureOrder {
  readonly driver: Driver;
  readonly capture: Capture;
  /** What was stored last; without one there is no "unchanged" and no "shrunk". */
  readonly baseline: CaptureBaseline | undefined;
  /** A text that lost more than so many percent of its exact bytes is read twice. */
  readonly shrinkPercent: number;
  readonly maxBytes: number;
}

/**
 * Reads a capture until its completeness is proven, twice where one reading is no proof: when the platform has
 * no end to check, when the text has shrunk, and when a pager was answered, since what looked like one was removed
 * from the text. Both readings must then have the same normalised text.
 */
export async function readCapture(run: RunCommand, order: CaptureOrder): Promise<CaptureReading> {
  const first = await readUndisturbed(run, order);
  const shrunk = looksShrunk(first, order);
  if (!shrunk && !first.paged && order.capture.end.grade !== "two-read") {
    return report(first, { order, confirmedShrunk: false });
  }
  const second = await readUndisturbed(run, order);
  if (second.normalisedSha256 !== first.normalisedSha256) {
    throw failed(order, {
      code: "configuration_unstable",
      detail: "it was read twice and the two texts differ",
    });
  }
  return report(second, { order, confirmedShrunk: shrunk });
}

interface Reading {
  readonly raw: Uint8Array<ArrayBuffer>;
  readonly normalisedSha256: Sha256;
  readonly lines: number;
  readonly command: string;
  readonly interrupted: boolean;
  readonly paged: boolean;
}

/**
 * A reading in which a prompt was followed by more text, or into which the device wrote a log message, is worth
 * nothing, and a second such one is a fault.
 */
async function readUndisturbed(run: RunCommand, order: CaptureOrder): Promise<Reading> {
  const first = await readOnce(run, order);
  const reading = first.interrupted ? await readOnce(run, order) : first;
  if (!reading.interrupted) return reading;
  throw failed(order, {
    code: "configuration_interleaved",
    detail: "twice a prompt or a log message came in the middle of it",
  });
}

/** The first command that the device does not refuse; the later ones are for devices that lack it. */
async function readOnce(run: RunCommand, order: CaptureOrder): Promise<Reading> {
  const { driver, capture, maxBytes } = order;
  const judge = (bytes: Uint8Array) => {
    markTurn();
    return judgeCompleteness(bytes, { driver, capture });
  };
  const options = {
    maxBytes,
    // A binary text does not become a configuration by what follows it.
    isWhole: (bytes: Uint8Array) => bytes.includes(0) || judge(bytes).complete,
    // An end marker may stand in a banner as well, with the host's name behind it.
    confirmPrompt: true,
  };
  for (const command of capture.commands) {
    const output = await run(command, options);
    if (!output.failure) {
      return await prove(output, { order, command, verdict: judge(output.bytes) });
    }
    const isLast = command === capture.commands.at(-1);
    if (output.failure.code !== "command_rejected" || isLast) throw failed(order, output.failure);
  }
  throw failed(order, { code: "command_rejected", detail: "the driver names no command for it" });
}

async function prove(
  { bytes, interrupted, paged }: CommandOutput,
  { order, command, verdict }: { order: CaptureOrder; command: string; verdict: Completeness },
): Promise<Reading> {
  const disturbed = interrupted ||
    (!verdict.complete && verdict.code === "configuration_interleaved");
  if (!verdict.complete && !disturbed) throw failed(order, verdict);
  const raw = new Uint8Array(bytes);
  markTurn();
  return {
    raw,
    normalisedSha256: await normalisedSha256(raw, order),
    lines: verdict.complete ? verdict.lines : 0,
    command,
    interrupted: disturbed,
    paged,
  };
}

function looksShrunk(
  { normalisedSha256, raw }: Reading,
  { baseline, shrinkPercent }: CaptureOrder,
): boolean {
  if (!baseline || baseline.normalisedSha256 === normalisedSha256) return false;
  return hasShrunk({ baselineBytes: baseline.bytes, bytes: raw.length, shrinkPercent });
}

async function report(
  { raw, normalisedSha256, lines, command }: Reading,
  { order, confirmedShrunk }: { order: CaptureOrder; confirmedShrunk: boolean },
): Promise<CaptureReading> {
  const outcome: CaptureOutcome = {
    name: order.capture.name,
    grade: order.capture.end.grade,
    rawSha256: await sha256(raw),
    normalisedSha256,
    bytes: raw.length,
    lines,
    unchanged: order.baseline?.normalisedSha256 === normalisedSha256,
    confirmedShrunk,
  };
  return { outcome, raw, command };
}

function failed(
  { capture }: CaptureOrder,
  { code, detail }: { readonly code: FailureCode; readonly detail: string },
): DeviceError {
  return new DeviceError(code, `Cannot read "${capture.name}": ${detail}`);
}
