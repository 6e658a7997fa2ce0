import { makeFrrRecording } from "./frr_recording.ts";
import { makeIosxeRecording } from "./iosxe_recording.ts";
import { makeJunosRecording } from "./junos_recording.ts";
import { makeLinuxRecording } from "./linux_recording.ts";
import { makeRandom, type Random } from "./random.ts";

export const FARM_PLATFORMS = ["cisco_iosxe", "juniper_junos", "frr", "linux"] as const;
export type FarmPlatform = typeof FARM_PLATFORMS[number];

/** What a device of the farm plays. All of it is made up; lines end with `\n`. */
export interface Recording {
  readonly platform: FarmPlatform;
  readonly hostname: string;
  /** What the device says after the login, before its first prompt. */
  readonly banner: string;
  /** The configuration without the lines that the device makes up at each call. */
  readonly configuration: string;
  /** Answers to all other commands. */
  readonly outputs: ReadonlyMap<string, string>;
  /** Every secret inside `configuration`, so that a test can prove that none leaks. */
  readonly secrets: readonly string[];
}

/** What a platform's generator is given: the secrets it plants are collected by `secret`. */
export interface Draft {
  readonly hostname: string;
  readonly interfaces: number;
  readonly random: Random;
  readonly secret: (value: string) => string;
}

export type DraftedRecording = Pick<Recording, "banner" | "configuration" | "outputs">;

const MAKERS: Record<FarmPlatform, (draft: Draft) => DraftedRecording> = {
  cisco_iosxe: makeIosxeRecording,
  juniper_junos: makeJunosRecording,
  frr: makeFrrRecording,
  linux: makeLinuxRecording,
};

const HOST_PREFIX: Record<FarmPlatform, string> = {
  cisco_iosxe: "core",
  juniper_junos: "edge",
  frr: "rr",
  linux: "host",
};

/** Makes a configuration of about 120 bytes per interface, plus 2 to 4 KB; the same for the same seed. */
export function makeRecording(
  platform: FarmPlatform,
  seed: number,
  { interfaces = 24 }: { readonly interfaces?: number } = {},
): Recording {
  const secrets: string[] = [];
  const hostname = `${HOST_PREFIX[platform]}-${seed}`;
  const drafted = MAKERS[platform]({
    hostname,
    interfaces,
    random: makeRandom(seed * 4 + FARM_PLATFORMS.indexOf(platform)),
    secret(value) {
      secrets.push(value);
      return value;
    },
  });
  return { platform, hostname, ...drafted, secrets };
}
