import { findDriver } from "@rookery/shared/drivers/mod.ts";
import { Tag } from "@rookery/shared/api/tags.ts";
import type { NetboxDevice } from "./ask_netbox.ts";
import { NETBOX_PLATFORMS } from "./foreign_models.ts";
import type { GivenRow } from "./read_rows.ts";

/** Every device that came from NetBox has it. */
export const NETBOX_TAG = "netbox";
/** And this one, as long as NetBox does not name it any more. */
export const VANISHED_TAG = "netbox-vanished";

/** NetBox's devices as rows; the number is the place in its list. `platforms` goes before what is known of slugs. */
export function readNetbox(
  devices: readonly NetboxDevice[],
  platforms: Readonly<Record<string, string>>,
): readonly GivenRow[] {
  return devices.map((device, index) => readDevice(device, { number: index + 1, platforms }));
}

function readDevice(
  { name, site, platform, primary_ip: primaryIp, tags }: NetboxDevice,
  { number, platforms }: { number: number; platforms: Readonly<Record<string, string>> },
): GivenRow {
  const known = platform ? platformOf(platform.slug, platforms) : undefined;
  const [address] = primaryIp?.address.split("/") ?? [];
  const fields = { name: name ?? undefined, address, platform: known, site: site.name };
  const given = {
    number,
    fields: Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)),
    addTags: [
      NETBOX_TAG,
      ...tags.map((tag) => tag.name).filter((tag) => Tag.safeParse(tag).success),
    ],
  };
  const errors = [
    ...(address === undefined ? [NO_ADDRESS] : []),
    ...(platform && !known ? [unknown(platform.slug)] : []),
  ];
  return errors.length > 0 ? { ...given, errors } : given;
}

const NO_ADDRESS = { pointer: "#/address", detail: "the device has no primary IP in NetBox" };

function unknown(slug: string) {
  const detail = `NetBox's platform ${
    JSON.stringify(slug.slice(0, 60))
  } is none here: name it in platforms`;
  return { pointer: "#/platform", detail };
}

function platformOf(slug: string, platforms: Readonly<Record<string, string>>): string | undefined {
  const own = slug.replaceAll("-", "_");
  const named = Object.hasOwn(platforms, slug) ? platforms[slug] : undefined;
  return named ?? NETBOX_PLATFORMS.get(slug) ?? (findDriver(own) ? own : undefined);
}
