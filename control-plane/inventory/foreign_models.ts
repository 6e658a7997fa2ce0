/** What other programs call the platforms that have a driver here. Others are refused by their names. */

/**
 * Oxidized's models, as its Supported-OS-Types.md names them, and the two names of its default model_map. `ios` stands for
 * IOS and IOS XE alike.
 */
export const OXIDIZED_MODELS: ReadonlyMap<string, string> = new Map([
  ["ios", "cisco_iosxe"],
  ["cisco", "cisco_iosxe"],
  ["junos", "juniper_junos"],
  ["juniper", "juniper_junos"],
  ["linuxgeneric", "linux"],
]);

/** RANCID's device types (router.db(5)): `cisco` is IOS, and neither IOS XR nor NX-OS. */
export const RANCID_TYPES: ReadonlyMap<string, string> = new Map([
  ["cisco", "cisco_iosxe"],
  ["juniper", "juniper_junos"],
  ["frr", "frr"],
]);

/** Slugs of platforms that are usual in NetBox, where each installation names its own; ids with - for _ go without saying. */
export const NETBOX_PLATFORMS: ReadonlyMap<string, string> = new Map([
  ["cisco-ios", "cisco_iosxe"],
  ["cisco-ios-xe", "cisco_iosxe"],
  ["ios", "cisco_iosxe"],
  ["ios-xe", "cisco_iosxe"],
  ["junos", "juniper_junos"],
]);
