/** Somebody says that a device has changed: what people, programs and agents may tell, and what becomes of it. */
import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { DeviceId, Instant, SiteId } from "../ids.ts";
import { Host } from "./devices.ts";
import { BROKEN_TEXT, isWhole, listOf, Page } from "./page.ts";

export const MAX_HINT_USER = 100;
export const MAX_HINT_TEXT = 500;
/** Who reported a change, of whom the newest are kept. */
export const MAX_REPORTERS = 10;

/**
 * Text that whoever wrote to a log chose: shown and never interpreted. White space becomes single blanks; what would
 * turn the direction of a line or hide in it (Unicode's format characters) becomes U+FFFD, so that it shows as what it says.
 */
export function visibleText(value: string): string {
  return value.replace(/\s+/g, " ").replace(/\p{Cf}/gu, "\ufffd").trim();
}

/** `visibleText` of at most `max` characters; other control characters are refused. */
function reported(max: number) {
  return z.string().overwrite(visibleText).max(max).regex(
    // deno-lint-ignore no-control-regex -- refusing them is what it is for
    /^[^\u0000-\u001f\u007f-\u009f]*$/,
    "must not contain control characters",
  ).refine(isWhole, BROKEN_TEXT);
}

/** Who changed a device, by name or address, as the log says. */
export const HintUser = reported(MAX_HINT_USER).meta({ example: "alice" });
/** The log's own words. */
export const HintText = reported(MAX_HINT_TEXT).meta({
  example: "%SYS-5-CONFIG_I: Configured from console by alice on vty0 (192.0.2.7)",
});

/** What one of those who changed a device was last said to have done. */
export const ChangeReport = z.object({
  at: Instant,
  user: z.string(),
  text: z.string(),
  /** Who told it: a person, a program with a token of theirs, or an agent. */
  via: z.enum(["user", "api_token", "agent"]),
  reporter: z.string(),
}).meta({ id: "ChangeReport" });
export type ChangeReport = z.infer<typeof ChangeReport>;

/** Why a job was ordered: a device was said to have changed. Hearsay: true is what the revision shows. */
export const JobCause = z.object({
  kind: z.literal("change_hint"),
  firstAt: Instant,
  lastAt: Instant,
  hints: z.int(),
  /** The newest report of each user, oldest first; the newest ten users. */
  reports: z.array(ChangeReport),
}).meta({ id: "JobCause" });
export type JobCause = z.infer<typeof JobCause>;

/** A device that is backed up when it has been quiet for a while. */
export const ChangeHint = z.object({
  deviceId: DeviceId,
  ...JobCause.omit({ kind: true }).shape,
  dueAt: Instant,
}).meta({ id: "ChangeHint" });
export type ChangeHint = z.infer<typeof ChangeHint>;

const SiteParams = z.strictObject({ siteId: SiteId });

export const createChangeHint = endpoint({
  method: "POST",
  path: "/api/v1/sites/:siteId/change-hints",
  access: "hints:write",
  summary: "Say that a device has changed: it is backed up once no more is said for a minute",
  description:
    "The backup is ordered 60 seconds after the last hint, and 10 minutes after the first one at the latest. " +
    "`address` is the address or the host name of a device of the site as it is stored, or the device's name; " +
    "devices that share it are all meant. One that no device has is a 404. `user` and `text` are shown with the job.",
  params: SiteParams,
  body: z.strictObject({
    address: Host,
    user: HintUser.default(""),
    text: HintText.default(""),
  }),
  reply: z.object({ devices: z.array(z.object({ deviceId: DeviceId, dueAt: Instant })) }),
  status: 202,
});

export const listChangeHints = endpoint({
  method: "GET",
  path: "/api/v1/sites/:siteId/change-hints",
  access: "jobs:read",
  summary: "List the devices of a site that were said to have changed and wait for quiet",
  params: SiteParams,
  query: Page,
  reply: listOf(ChangeHint),
});
