import { z } from "zod";
import { DRIVERS, findDriver } from "../drivers/mod.ts";
import { endpoint } from "../endpoint.ts";
import { CredentialId, DeviceId, Instant, SiteId, TenantId } from "../ids.ts";
import { BROKEN_TEXT, isWhole, listOf, Name, Page, text } from "./page.ts";
import { TagExpression } from "./tag_expression.ts";
import { Pattern } from "./tag_rules.ts";
import { Tags } from "./tags.ts";
import { TouchWindow } from "../schedules/touch_window.ts";

/**
 * An IPv4 or IPv6 address or a host name (RFC 1123); no port, no user, no scheme. Kept in its one canonical form, so that
 * the same address written in two ways is still the same device.
 */
export const Host = z.string().trim().overwrite(canonicalHost).min(1).max(253).refine(
  (host) => isAddress(host) || isHostname(host),
  "must be an IPv4 address, an IPv6 address or a host name",
).refine((host) => !isNobody(host), "is an address that no device has").meta({
  example: "192.0.2.1",
});

function isIpv6(host: string): boolean {
  return z.ipv6().safeParse(host).success;
}

function isAddress(host: string): boolean {
  return z.ipv4().safeParse(host).success || isIpv6(host);
}

function canonicalHost(host: string): string {
  if (isIpv6(host)) return unmapped(new URL(`http://[${host}]/`).hostname.slice(1, -1));
  return host.toLowerCase().replace(/\.$/, "");
}

/** An IPv4 address in the clothes of IPv6 (`::ffff:a00:1`) leads to the same device. */
function unmapped(ipv6: string): string {
  const [, high, low] = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(ipv6) ?? [];
  if (high === undefined || low === undefined) return ipv6;
  const [first, second] = [parseInt(high, 16), parseInt(low, 16)];
  return [first >> 8, first & 255, second >> 8, second & 255].join(".");
}

/** "This host" (which some systems take for loopback), multicast, reserved and broadcast. */
function isNobody(host: string): boolean {
  if (isIpv6(host)) return host === "::" || host.startsWith("ff");
  const [first = ""] = host.split(".");
  return isAddress(host) && (Number(first) === 0 || Number(first) >= 224);
}

/** A name whose last label is all digits would be taken for a broken IPv4 address, and is one. */
function isHostname(host: string): boolean {
  const labels = host.split(".");
  return labels.every((label) => /^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)$/.test(label)) &&
    !/^\d+$/.test(labels.at(-1) ?? "");
}

/** The id of a platform that has a driver. */
export const Platform = z.string().max(40).refine(
  (platform) => findDriver(platform) !== undefined,
  `must be a platform that has a driver: ${[...DRIVERS.keys()].join(", ")}`,
).meta({ example: "cisco_iosxe" });

const MOST_NOTES = 4_000;

/** What people write down about a device, in several lines. */
export const Notes = z.string().trim().max(MOST_NOTES).regex(
  // deno-lint-ignore no-control-regex -- refusing them is what it is for
  /^[^\u0000-\u0008\u000b-\u001f\u007f]*$/,
  "must not contain control characters except line feeds and tabs",
).refine(isWhole, BROKEN_TEXT).meta({ example: "Behind the second door." });

const Owner = text(100).meta({ example: "network operations" });

/** What may be written of a device. */
export const DeviceFields = {
  name: Name,
  host: Host,
  port: z.int().min(1).max(65_535),
  platform: Platform,
  credentialId: CredentialId.nullable(),
  /** Offers SHA-1, CBC, MD5 and DSA as a last resort; only for devices that know nothing better. */
  legacyAlgorithms: z.boolean(),
  connectSeconds: z.int().min(1).max(300),
  idleSeconds: z.int().min(1).max(600),
  totalSeconds: z.int().min(1).max(3_600),
  /** The largest configuration that is taken. */
  maxBytes: z.int().min(1_024).max(100 * 1024 * 1024),
  /** When the device may be touched, by the clock of its site; null: always. */
  windows: z.array(TouchWindow).min(1).max(20).nullable(),
  /** A tag that is not known yet is made, for the tenant of the device's site. */
  tags: Tags,
  notes: Notes,
  /** Who answers for it: a person, a team. */
  owner: Owner,
};

/** `never`: no attempt yet; else what became of the last one. */
export const BackupStatus = z.enum(["never", "verified", "quarantined", "failed"])
  .meta({ id: "BackupStatus" });
export type BackupStatus = z.infer<typeof BackupStatus>;

export const Device = z.object({
  id: DeviceId,
  siteId: SiteId,
  ...DeviceFields,
  // A driver may have gone since the device was made: reading it must not fail.
  platform: z.string(),
  host: z.string(),
  tags: z.array(z.string()),
  createdAt: Instant,
  updatedAt: Instant,
  archivedAt: Instant.nullable(),
  /** Of its last attempt. */
  status: BackupStatus,
  /** The age that matters: failed and quarantined attempts do not renew it. */
  lastVerifiedAt: Instant.nullable(),
  /** The running configuration is not the one the device would start with; null when it shows only one. */
  unsaved: z.boolean().nullable(),
  /** What the device said of itself, kept from its backups. */
  model: z.string().nullable(),
  serialNumber: z.string().nullable(),
  osVersion: z.string().nullable(),
}).meta({ id: "Device" });
export type Device = z.infer<typeof Device>;

const DeviceParams = z.strictObject({ deviceId: DeviceId });

const TEN_YEARS_HOURS = 87_600;

/** Which devices, by what is known of them; all that is given must fit. */
export const DeviceFilter = {
  tenantId: TenantId.optional(),
  siteId: SiteId.optional(),
  platform: text(40).meta({ example: "cisco_iosxe" }).optional(),
  tags: TagExpression.optional(),
  status: BackupStatus.optional(),
  /** The last verified backup is at least so many hours old, or there is none. */
  staleHours: z.coerce.number<number>().int().min(1).max(TEN_YEARS_HOURS)
    .meta({ type: "integer", example: 26 }).optional(),
  /** Whether the running configuration is not the one the device would start with. */
  unsaved: z.stringbool().meta({ type: "boolean" }).optional(),
  /** In the name, the address or the notes; large and small letters make no difference. */
  text: text(100).min(1, "must not be empty").meta({ example: "oslo" }).optional(),
  /** What the device said of itself: `*` stands for any characters, `?` for one. */
  model: Pattern.optional(),
  serialNumber: Pattern.optional(),
  osVersion: Pattern.optional(),
  /** The whole of it; large and small letters make no difference. */
  owner: Owner.min(1, "must not be empty").optional(),
};

export const listDevices = endpoint({
  method: "GET",
  path: "/api/v1/devices",
  access: "devices:read",
  summary: "List devices",
  query: z.strictObject({
    ...Page.shape,
    ...DeviceFilter,
    /** Archived devices instead of those in use. */
    archived: z.stringbool().default(false).meta({ type: "boolean", default: false }),
  }),
  reply: listOf(Device),
});

export const createDevice = endpoint({
  method: "POST",
  path: "/api/v1/devices",
  access: "devices:write",
  summary: "Create a device",
  description: "What is left out is as the settings of the category device_defaults say.",
  body: z.strictObject({
    siteId: SiteId,
    ...DeviceFields,
    port: DeviceFields.port.default(22),
    credentialId: DeviceFields.credentialId.default(null),
    legacyAlgorithms: DeviceFields.legacyAlgorithms.default(false),
    connectSeconds: DeviceFields.connectSeconds.optional(),
    idleSeconds: DeviceFields.idleSeconds.optional(),
    totalSeconds: DeviceFields.totalSeconds.optional(),
    maxBytes: DeviceFields.maxBytes.optional(),
    windows: DeviceFields.windows.default(null),
    tags: Tags.default([]),
    notes: DeviceFields.notes.default(""),
    owner: DeviceFields.owner.default(""),
  }),
  reply: Device,
  status: 201,
});

export const getDevice = endpoint({
  method: "GET",
  path: "/api/v1/devices/:deviceId",
  access: "devices:read",
  summary: "Read one device",
  params: DeviceParams,
  reply: Device,
});

export const updateDevice = endpoint({
  method: "PATCH",
  path: "/api/v1/devices/:deviceId",
  access: "devices:write",
  summary: "Change a device",
  params: DeviceParams,
  body: z.strictObject(DeviceFields).partial(),
  reply: Device,
});

export const archiveDevice = endpoint({
  method: "DELETE",
  path: "/api/v1/devices/:deviceId",
  access: "devices:write",
  summary: "Archive a device: it is backed up no more, its history stays",
  params: DeviceParams,
});

export const restoreDevice = endpoint({
  method: "POST",
  path: "/api/v1/devices/:deviceId/restoration",
  access: "devices:write",
  summary: "Bring an archived device back",
  params: DeviceParams,
  reply: Device,
});

/** A platform that devices can have. */
export const PlatformInfo = z.object({
  platform: z.string(),
  label: z.string(),
  transport: z.enum(["shell", "exec"]),
  captures: z.array(z.string()),
  evidence: z.string(),
  restore: z.string(),
}).meta({ id: "PlatformInfo" });

export const listPlatforms = endpoint({
  method: "GET",
  path: "/api/v1/platforms",
  access: "devices:read",
  summary: "List the platforms that have a driver",
  reply: z.object({ items: z.array(PlatformInfo) }),
});
