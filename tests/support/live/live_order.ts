import type { BackupOrder } from "../../../agent/session/back_up.ts";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import type { KeyPair } from "../farm/key_pair.ts";
import type { LiveDevice } from "./live_device.ts";

/** The order for a backup of a live device with its password; its limits leave room for a slow machine. */
export function orderForLive(
  device: LiveDevice,
  changes: Partial<BackupOrder> = {},
): BackupOrder {
  const driver = findDriver(device.platform);
  if (!driver) throw new TypeError(`Cannot back up a live ${device.platform}: no driver`);
  return {
    kind: "backup_config",
    driver,
    target: { host: device.host, port: device.port },
    credential: device.login,
    hostKeyPolicy: "first_use",
    hostKeys: [],
    legacyAlgorithms: false,
    limits: {
      connectSeconds: 20,
      idleSeconds: 20,
      totalSeconds: 60,
      maxBytes: 10_000_000,
      shrinkPercent: 50,
    },
    captures: [],
    baselines: {},
    ...changes,
  };
}

/** A credential of a key alone. */
export function keyCredential(
  { login: { username } }: LiveDevice,
  { privateKey, passphrase }: KeyPair,
): BackupOrder["credential"] {
  return { username, privateKey, passphrase };
}
