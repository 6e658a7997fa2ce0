import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { DeviceId, HostKeyId, HostKeyWindowId, Instant, SiteId } from "../ids.ts";
import { BROKEN_TEXT, isWhole, listOf, Page } from "./page.ts";

export const HostKeyState = z.enum(["accepted", "pending", "rejected"])
  .meta({ id: "HostKeyState" });

/** A host key that a device has shown. The accepted ones are its pins. */
export const HostKey = z.object({
  id: HostKeyId,
  siteId: SiteId,
  deviceId: DeviceId,
  keyType: z.string(),
  fingerprint: z.string(),
  state: HostKeyState
    .describe("Only in this state"),
  /** The device has another key that is accepted: a waiting one is a change, and not merely unknown. */
  changed: z.boolean(),
  source: z.enum(["first_use", "reported", "administrator", "known_hosts", "window"]),
  firstSeenAt: Instant,
  lastSeenAt: Instant,
  decidedAt: Instant.nullable(),
}).meta({ id: "HostKey" });
export type HostKey = z.infer<typeof HostKey>;

const HostKeyParams = z.strictObject({ hostKeyId: HostKeyId });

export const listHostKeys = endpoint({
  method: "GET",
  path: "/api/v1/host-keys",
  access: "host_keys:read",
  summary: "List host keys",
  query: z.strictObject({
    ...Page.shape,
    siteId: SiteId.optional(),
    deviceId: DeviceId.optional(),
    state: HostKeyState.optional(),
  }),
  reply: listOf(HostKey),
});

export const createHostKey = endpoint({
  method: "POST",
  path: "/api/v1/host-keys",
  access: "host_keys:write",
  summary: "Pin a host key that is known beforehand, as a strict site needs it",
  body: z.strictObject({
    deviceId: DeviceId,
    keyType: z.string().min(1).max(60).regex(
      /^[a-z0-9@.-]+$/,
      "must be a key type such as ssh-ed25519",
    ).meta({ example: "ssh-ed25519" }),
    fingerprint: z.string().regex(
      /^SHA256:[A-Za-z0-9+/]{43}$/,
      "must be SHA256:… as ssh-keygen -lf prints it",
    ).meta({ example: `SHA256:${"A".repeat(43)}` }),
  }),
  reply: HostKey,
  status: 201,
});

export const acceptHostKey = endpoint({
  method: "POST",
  path: "/api/v1/host-keys/:hostKeyId/acceptance",
  access: "host_keys:write",
  summary: "Accept a host key in place of the device's earlier pins",
  params: HostKeyParams,
  reply: HostKey,
});

export const rejectHostKey = endpoint({
  method: "POST",
  path: "/api/v1/host-keys/:hostKeyId/rejection",
  access: "host_keys:write",
  summary: "Reject a host key; an accepted one is no pin any more",
  params: HostKeyParams,
  reply: HostKey,
});

export const decideHostKeys = endpoint({
  method: "POST",
  path: "/api/v1/host-keys/decisions",
  access: "host_keys:write",
  summary: "Accept or reject waiting host keys: those that are named, or all of a site",
  description:
    "For a whole site, expected must be the number of its waiting keys, lest a key is decided that nobody has looked at. " +
    "Accepting a site leaves devices alone that have more than one key waiting: they are named in ambiguous.",
  body: z.strictObject({
    decision: z.enum(["accept", "reject"]),
    hostKeyIds: z.array(HostKeyId).min(1).max(1_000).optional(),
    siteId: SiteId.optional(),
    expected: z.int().min(1).max(1_000_000).optional(),
  }).refine((body) => (body.hostKeyIds === undefined) !== (body.siteId === undefined), {
    path: ["hostKeyIds"],
    message: "name either hostKeyIds or siteId",
  }).refine((body) => (body.siteId === undefined) === (body.expected === undefined), {
    path: ["expected"],
    message: "comes with siteId: the number of keys that wait there",
  }),
  reply: z.object({ decided: z.int(), ambiguous: z.array(DeviceId) }),
});

/** What became of one host of one line of a known_hosts file. */
export const KnownHostReport = z.object({
  line: z.int(),
  /** As the file has it; a hashed one stays hashed unless a device matches. */
  host: z.string(),
  keyType: z.string(),
  status: z.enum([
    "imported",
    "already_pinned",
    "revoked",
    "no_such_device",
    "conflict",
    "unreadable",
  ]),
  deviceId: DeviceId.nullable(),
  detail: z.string(),
}).meta({ id: "KnownHostReport" });
export type KnownHostReport = z.infer<typeof KnownHostReport>;

export const importKnownHosts = endpoint({
  method: "POST",
  path: "/api/v1/host-keys/import",
  access: "host_keys:write",
  summary: "Pin the host keys of an OpenSSH known_hosts file at a site's devices",
  body: z.strictObject({
    siteId: SiteId,
    /** The text of the file: plain and hashed hosts, ports in brackets, @revoked. */
    text: z.string().min(1).max(900_000).refine(isWhole, BROKEN_TEXT)
      .regex(/^[^\0]*$/, "must be the text of a known_hosts file, without NUL")
      .refine((text) => text.split("\n").every((line) => line.length <= 20_000), {
        message: "must be lines of at most 20,000 characters",
      }).meta({ example: "core-1.example.net ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI…" }),
  }),
  reply: z.object({ items: z.array(KnownHostReport) }),
  maxBodyBytes: 2 * 1_048_576,
});

/** A time in which the first changed key of each device is accepted. */
export const HostKeyWindow = z.object({
  id: HostKeyWindowId,
  siteId: SiteId,
  /** Null: every device of the site. */
  deviceId: DeviceId.nullable(),
  openedAt: Instant,
  closesAt: Instant,
  closedAt: Instant.nullable(),
  /** How many devices have had a key accepted in it. */
  used: z.int(),
}).meta({ id: "HostKeyWindow" });

export const listHostKeyWindows = endpoint({
  method: "GET",
  path: "/api/v1/host-key-windows",
  access: "host_keys:read",
  summary: "List the times in which changed host keys are accepted",
  query: z.strictObject({ ...Page.shape, siteId: SiteId.optional() }),
  reply: listOf(HostKeyWindow),
});

export const openHostKeyWindow = endpoint({
  method: "POST",
  path: "/api/v1/host-key-windows",
  access: "host_keys:write",
  summary: "Accept the first changed host key of a device, or of each of a site, for a while",
  body: z.strictObject({
    siteId: SiteId.optional(),
    deviceId: DeviceId.optional(),
    /** Up to seven days. */
    minutes: z.int().min(1).max(7 * 24 * 60),
  }).refine((body) => (body.siteId === undefined) !== (body.deviceId === undefined), {
    path: ["siteId"],
    message: "name either siteId or deviceId",
  }),
  reply: HostKeyWindow,
  status: 201,
});

export const closeHostKeyWindow = endpoint({
  method: "DELETE",
  path: "/api/v1/host-key-windows/:windowId",
  access: "host_keys:write",
  summary: "Close such a time before its end",
  params: z.strictObject({ windowId: HostKeyWindowId }),
});
