import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { DeviceId } from "../ids.ts";
import { DeviceFields, DeviceFilter } from "./devices.ts";
import { Tags } from "./tags.ts";

/** How many devices are changed at once, all or none. */
export const MOST_EDITED = 1_000;

const { connectSeconds, idleSeconds, totalSeconds, maxBytes, windows } = DeviceFields;
const { platform, credentialId, legacyAlgorithms, owner } = DeviceFields;

/** What many devices can have in common. */
export const DeviceEdit = z.strictObject({
  ...{ platform, credentialId, legacyAlgorithms, owner },
  ...{ connectSeconds, idleSeconds, totalSeconds, maxBytes, windows },
  /** Beside the tags that each has. */
  addTags: Tags,
  removeTags: Tags,
}).partial().refine((edit) => Object.values(edit).some((value) => value !== undefined), {
  message: "must change something",
}).meta({ id: "DeviceEdit" });
export type DeviceEdit = z.infer<typeof DeviceEdit>;

export const editDevices = endpoint({
  method: "POST",
  path: "/api/v1/devices/edits",
  access: "devices:write",
  summary: "Change many devices in use at once: those that are named, or all that a filter finds",
  description:
    "All or none, at most 1,000. expected must be how many devices that are; when it is another number, nothing is changed, " +
    "and the refusal says which",
  body: z.strictObject({
    deviceIds: z.array(DeviceId).min(1).max(MOST_EDITED).optional(),
    filter: z.strictObject({
      ...DeviceFilter,
      unsaved: z.boolean().optional(),
    }).optional(),
    expected: z.int().min(1).max(MOST_EDITED),
    change: DeviceEdit,
  }).refine((body) => (body.deviceIds === undefined) !== (body.filter === undefined), {
    path: ["deviceIds"],
    message: "name either deviceIds or filter",
  }),
  reply: z.object({ changed: z.int() }),
});
