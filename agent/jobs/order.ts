import type { DeviceOrder } from "../session/order.ts";
import type { RunnableLease } from "../verify_lease.ts";

/** What every session of a lease is ordered with. */
export function orderOf({ claims, driver, credential }: RunnableLease): DeviceOrder {
  const { device, limits } = claims;
  return {
    driver,
    target: { host: device.host, port: device.port },
    credential,
    hostKeyPolicy: device.hostKeyPolicy,
    hostKeys: device.hostKeys,
    legacyAlgorithms: device.legacyAlgorithms,
    limits,
  };
}
