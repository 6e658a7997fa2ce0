import { z } from "zod";
import { Grade } from "../drivers/driver.ts";
import { commandsOf } from "../drivers/mod.ts";
import { Sha256 } from "../ids.ts";
import { toldText } from "./failure.ts";
import { kind } from "./kind.ts";

/** What a `backup_config` job asks for: the driver's captures to read; empty means all of them. */
export const BackupConfigPayload = z.strictObject({
  captures: z.array(
    z.string().regex(/^[a-zA-Z0-9_]{1,40}$/, "is no name of a capture").meta({
      example: "running",
    }),
  ).max(50)
    .default([]),
}).meta({ id: "BackupConfigPayload" });
export type BackupConfigPayload = z.infer<typeof BackupConfigPayload>;

/** The host key that a device showed; `fingerprint` is OpenSSH's `SHA256:…` form. */
export const HostKeySeen = z.strictObject({
  type: toldText(60),
  fingerprint: z.string().regex(
    /^SHA256:[A-Za-z0-9+/]{43}$/,
    "must be SHA256:… as OpenSSH prints it",
  ),
}).meta({ id: "HostKeySeen" });
export type HostKeySeen = z.infer<typeof HostKeySeen>;

/** One configuration that was read and proven complete. */
export const CaptureOutcome = z.strictObject({
  name: toldText(40),
  grade: Grade,
  /** Of the exact bytes, as the device sent them after terminal emulation. */
  rawSha256: Sha256,
  /** Of the text without its volatile lines. */
  normalisedSha256: Sha256,
  bytes: z.int().min(1),
  lines: z.int().min(1),
  /** The normalised digest equals the one the lease named, so nothing was uploaded. */
  unchanged: z.boolean(),
  /** It was read twice because it had shrunk, and both readings agree. */
  confirmedShrunk: z.boolean(),
}).meta({ id: "CaptureOutcome" });
export type CaptureOutcome = z.infer<typeof CaptureOutcome>;

/** Facts of the device that a driver parsed; absent when the device did not say. */
export const DeviceFacts = z.strictObject({
  model: toldText(200).optional(),
  serialNumber: toldText(200).optional(),
  osVersion: toldText(200).optional(),
  hostname: toldText(200).optional(),
  uptime: toldText(200).optional(),
  lastChangedBy: toldText(200).optional(),
}).meta({ id: "DeviceFacts" });
export type DeviceFacts = z.infer<typeof DeviceFacts>;

/** The SSH algorithms that were negotiated, so that legacy ones are recorded and shown. */
export const SshAlgorithms = z.strictObject({
  kex: toldText(80),
  cipher: toldText(80),
  mac: toldText(80),
  hostKey: toldText(80),
}).meta({ id: "SshAlgorithms" });
export type SshAlgorithms = z.infer<typeof SshAlgorithms>;

/** What a completed `backup_config` reports. */
export const BackupConfigOutcome = z.strictObject({
  captures: z.array(CaptureOutcome).min(1).max(50),
  facts: DeviceFacts,
  hostKey: HostKeySeen,
  algorithms: SshAlgorithms,
}).meta({ id: "BackupConfigOutcome" });
export type BackupConfigOutcome = z.infer<typeof BackupConfigOutcome>;

/** Reads the configurations of a device and proves each of them complete. */
export const backupConfig = kind({
  payload: BackupConfigPayload,
  outcome: BackupConfigOutcome,
  summary: "Back up the configuration",
  oneForDevice: true,
  logsIn: () => true,
  commandsOf: (driver, { captures }) => commandsOf(driver, captures),
  refuse: ({ platform, captures: known }, { captures }) =>
    captures.flatMap((name, index) => {
      if (known.some((capture) => capture.name === name)) return [];
      const detail = `the driver of ${platform} has no such capture`;
      return [{ detail, pointer: `/captures/${index}` }];
    }),
});
