import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { MAX_INTEGER } from "../ids.ts";
import { SETTINGS } from "../settings/mod.ts";
import { Task } from "./tasks.ts";

/** What retention would delete, by limits that need not be in force. */
export const RetentionPreview = z.object({
  last: z.int(),
  days: z.int(),
  revisions: z.int(),
  devices: z.int(),
  /** Of all revisions together, as the devices sent them; what is stored of them is less. */
  bytes: z.int(),
}).meta({ id: "RetentionPreview" });
export type RetentionPreview = z.infer<typeof RetentionPreview>;

const KEEPS =
  "A revision stays while it is one of the newest accepted ones of its capture, or was seen " +
  "lately, and always while it is pinned, current, the last verified one or waiting in quarantine";

export const previewRetention = endpoint({
  method: "GET",
  path: "/api/v1/retention/preview",
  access: "tasks:read",
  summary: "Count the revisions that retention would delete now",
  description: KEEPS,
  query: z.strictObject({
    // Coercion takes null for 0, so the document has to be told that it is no null.
    /** Default: the setting `retention.revisions_last`. */
    last: z.coerce.number<number>().pipe(SETTINGS["retention.revisions_last"].schema)
      .meta({ type: "integer" }).optional(),
    /** Default: the setting `retention.revisions_days`. */
    days: z.coerce.number<number>().pipe(SETTINGS["retention.revisions_days"].schema)
      .meta({ type: "integer" }).optional(),
  }),
  reply: RetentionPreview,
});

export const applyRetention = endpoint({
  method: "POST",
  path: "/api/v1/retention/runs",
  access: "tasks:write",
  summary: "Order a task that deletes old revisions by the settings of now",
  description: `${KEEPS}. Contents that no revision refers to any more go with a run a week later`,
  body: z.strictObject({
    /** Refused when more than this would go; the preview says how many. */
    mostRevisions: z.int().min(0).max(MAX_INTEGER).optional(),
  }),
  reply: Task,
  status: 201,
});
