import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { DeviceId, HostKeyId, Instant, SiteId } from "../ids.ts";
import { listOf, Page } from "./page.ts";

export const HostKeyState = z.enum(["accepted", "pending", "rejected"])
  .meta({ id: "HostKeyState" });

/** A host key that a device has shown. The accepted ones are its pins. */
export const HostKey = z.object({
  id: HostKeyId,
  siteId: SiteId,
  deviceId: DeviceId,
  keyType: z.string(),
  fingerprint: z.string(),
  state: HostKeyState,
  source: z.enum(["first_use", "reported", "administrator"]),
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
