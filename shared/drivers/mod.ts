import { digestOf } from "../canonical_json.ts";
import type { Sha256 } from "../ids.ts";
import { cisco_iosxe } from "./cisco_iosxe.ts";
import type { Capture, Driver } from "./driver.ts";
import { DriverSet } from "./driver_set.ts";
import { frr } from "./frr.ts";
import { juniper_junos } from "./juniper_junos.ts";
import { linux } from "./linux.ts";

/** Every driver that ships with Rookery, by platform. */
export const DRIVERS: ReadonlyMap<string, Driver> = new Map(
  [cisco_iosxe, frr, juniper_junos, linux].map((driver) => [driver.platform, driver]),
);

/** The driver of a platform, or undefined when none ships. */
export function findDriver(platform: string): Driver | undefined {
  return DRIVERS.get(platform);
}

/** The digest that a lease names, so that agent and control plane mean the same driver. */
export function driverSha256(driver: Driver): Promise<Sha256> {
  return digestOf(driver);
}

/** The same with their digests: what either side has when it was given nothing else. */
export const SHIPPED_DRIVERS = new DriverSet(DRIVERS.values());

/** The digest of every driver that ships, by platform. */
export function driverDigests(): Promise<Readonly<Record<string, Sha256>>> {
  return SHIPPED_DRIVERS.digests();
}

/** The captures of these names in the driver's order; no names mean all. An unknown name is a RangeError. */
export function capturesOf(driver: Driver, names: readonly string[]): readonly Capture[] {
  const unknown = names.find((name) => !driver.captures.some((capture) => capture.name === name));
  if (unknown !== undefined) {
    throw new RangeError(`Cannot read "${unknown}" of ${driver.platform}: it has no such capture`);
  }
  return driver.captures.filter(({ name }) => names.length === 0 || names.includes(name));
}

/** Every line that a session may send before and after its commands: to get to where they are run, and to leave. */
export function linesAround(driver: Driver): readonly string[] {
  const modes = Object.values(driver.modes);
  return [
    ...driver.opening.map(({ send }) => send),
    ...modes.flatMap(({ entries }) => entries.map(({ send }) => send)),
    ...driver.transport === "shell" ? driver.logout : [],
  ];
}

/** Every line that the driver may send to read these captures (none named: all), sorted, each once. */
export function commandsOf(driver: Driver, names: readonly string[]): readonly string[] {
  const lines = [
    ...linesAround(driver),
    ...capturesOf(driver, names).flatMap(({ commands }) => commands),
    ...driver.facts.map(({ command }) => command),
  ];
  return [...new Set(lines)].sort();
}

/** The digest of `commandsOf`, which a lease names and the agent compares. */
export function commandsSha256(driver: Driver, names: readonly string[]): Promise<Sha256> {
  return digestOf(commandsOf(driver, names));
}
