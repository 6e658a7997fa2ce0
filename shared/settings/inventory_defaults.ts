import { DeviceFields } from "../api/devices.ts";
import { SiteFields } from "../api/sites.ts";
import { setting } from "./setting.ts";

/** What a new site has where nothing else is said. Sites that exist keep what they have. */
export const SITE_DEFAULTS = {
  "site_defaults.host_key_policy": setting({
    schema: SiteFields.hostKeyPolicy,
    default: "first_use",
    description: "What new sites do with the first host key of a device: pin it, or refuse it",
    unit: null,
  }),
  "site_defaults.max_live": setting({
    schema: SiteFields.maxLive,
    default: 10,
    description: "Jobs that may run at the same time at a new site",
    unit: "sessions",
  }),
  "site_defaults.max_queued": setting({
    schema: SiteFields.maxQueued,
    default: 10_000,
    description: "Open jobs that a new site takes before it says that its queue is full",
    unit: "jobs",
  }),
  "site_defaults.lease_ttl_seconds": setting({
    schema: SiteFields.leaseTtlSeconds,
    default: 180,
    description: "How long an agent of a new site may be unheard before its jobs go to others",
    unit: "seconds",
  }),
  "site_defaults.shrink_percent": setting({
    schema: SiteFields.shrinkPercent,
    default: 50,
    description: "Configurations at a new site that lost more than this are read again, then held",
    unit: "percent",
  }),
} as const;

/** What a new device has where nothing else is said. Devices that exist keep what they have. */
export const DEVICE_DEFAULTS = {
  "device_defaults.connect_seconds": setting({
    schema: DeviceFields.connectSeconds,
    default: 20,
    description: "How long a new device may take to let an agent log in",
    unit: "seconds",
  }),
  "device_defaults.idle_seconds": setting({
    schema: DeviceFields.idleSeconds,
    default: 60,
    description: "How long a new device may say nothing in the middle of a session",
    unit: "seconds",
  }),
  "device_defaults.total_seconds": setting({
    schema: DeviceFields.totalSeconds,
    default: 600,
    description: "How long a whole session with a new device may take",
    unit: "seconds",
  }),
  "device_defaults.max_bytes": setting({
    schema: DeviceFields.maxBytes,
    default: 20 * 1024 * 1024,
    description: "The largest configuration that is taken from a new device",
    unit: "bytes",
  }),
} as const;
