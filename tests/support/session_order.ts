import type { BackupOrder, BackupReport } from "../../agent/session/back_up.ts";
import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import type { FarmDevice } from "./farm/device.ts";

/** The driver of a farm device. */
export function driverOf({ platform }: Pick<FarmDevice, "platform">): Driver {
  const driver = findDriver(platform);
  if (!driver) throw new TypeError(`Cannot back up ${platform}: no driver`);
  return driver;
}

type Changes = Partial<Omit<BackupOrder, "limits">> & {
  readonly limits?: Partial<BackupOrder["limits"]>;
};

/** The order for a backup of a farm device with its own login; short limits, so that faults show soon. */
export function orderFor(device: FarmDevice, { limits, ...changes }: Changes = {}): BackupOrder {
  const { username, password, keyPair, enableSecret } = device.login;
  return {
    kind: "backup_config",
    driver: driverOf(device),
    target: { host: device.host, port: device.port },
    credential: { username, password, privateKey: keyPair?.privateKey, enableSecret },
    hostKeyPolicy: "first_use",
    hostKeys: [],
    legacyAlgorithms: false,
    limits: {
      connectSeconds: 2,
      idleSeconds: 2,
      totalSeconds: 20,
      maxBytes: 1_000_000,
      shrinkPercent: 50,
      ...limits,
    },
    captures: [],
    baselines: {},
    ...changes,
  };
}

/** What a report leaves behind as the baseline of the next backup. */
export function baselineOf({ captures }: BackupReport): BackupOrder["baselines"] {
  return Object.fromEntries(captures.map(({ outcome }) => {
    const { name, normalisedSha256, bytes, lines } = outcome;
    return [name, { normalisedSha256, bytes, lines }];
  }));
}
