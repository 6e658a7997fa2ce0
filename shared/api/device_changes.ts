import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { DeviceId, id, Instant, SiteId } from "../ids.ts";
import { Device, Host } from "./devices.ts";
import { createHostKey } from "./host_keys.ts";
import { listOf, Name, Page, text } from "./page.ts";

const DeviceParams = z.strictObject({ deviceId: DeviceId });

/** Something that happened to a device. */
export const DeviceMarkId = id("DeviceMarkId");
export type DeviceMarkId = z.infer<typeof DeviceMarkId>;

export const DeviceMarkKind = z.enum(["moved", "replaced"]).meta({ id: "DeviceMarkKind" });
export type DeviceMarkKind = z.infer<typeof DeviceMarkKind>;

/** What happened to a device that its history has to be read with. */
export const DeviceMark = z.object({
  id: DeviceMarkId,
  deviceId: DeviceId,
  kind: DeviceMarkKind,
  at: Instant,
  /** Where a moved one was before; null also for who does not see that site. */
  fromSiteId: SiteId.nullable(),
  /** Of the hardware that a replacement brought. */
  serialNumber: z.string().nullable(),
  fingerprint: z.string().nullable(),
}).meta({ id: "DeviceMark" });
export type DeviceMark = z.infer<typeof DeviceMark>;

export const listDeviceMarks = endpoint({
  method: "GET",
  path: "/api/v1/devices/:deviceId/marks",
  access: "devices:read",
  summary: "List the moves and replacements of a device, newest first",
  params: DeviceParams,
  query: Page,
  reply: listOf(DeviceMark),
});

export const moveDevice = endpoint({
  method: "POST",
  path: "/api/v1/devices/:deviceId/move",
  access: "devices:write",
  summary: "Move a device to another site of its tenant, with its configurations",
  description:
    "Its open jobs are cancelled, also one that runs: what its agent still reports is not taken. Jobs that ended stay in the " +
    "history of the site whose agents did them",
  params: DeviceParams,
  body: z.strictObject({ siteId: SiteId }),
  reply: Device,
});

export const replaceDevice = endpoint({
  method: "POST",
  path: "/api/v1/devices/:deviceId/replacements",
  access: "devices:write",
  summary: "Say that other hardware took a device's place: its history goes on behind a mark",
  description:
    "Takes host_keys:write, too: the new host key becomes the only pin, and those of the old hardware are rejected. Facts of " +
    "the old hardware and refusals of its credential are forgotten",
  params: DeviceParams,
  body: z.strictObject({
    serialNumber: text(200).min(1, "must not be empty").meta({ example: "FOC1234X0AB" }),
    hostKey: createHostKey.body.pick({ keyType: true, fingerprint: true }),
    /** Where it is reached, if that changed as well. */
    host: Host.optional(),
  }),
  reply: DeviceMark,
  status: 201,
});

export const purgeDevice = endpoint({
  method: "POST",
  path: "/api/v1/devices/:deviceId/purge",
  access: "archive:purge",
  summary: "Delete an archived device for ever, with all its configurations and jobs",
  description: "There is no way back. Contents that no other device has go with the next retention",
  params: DeviceParams,
  /** Its name, lest another one is deleted that nobody meant. */
  body: z.strictObject({ name: Name }),
});
