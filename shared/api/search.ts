import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { DeviceId, Instant, RevisionId, SiteId } from "../ids.ts";
import { Page, text } from "./page.ts";
import { SearchPattern, SearchText } from "./search_pattern.ts";
import { TagExpression } from "./tag_expression.ts";

/** A line that was found, or one beside it. */
const FoundLine = z.object({
  /** In the redacted text, from 1. */
  number: z.int(),
  /** At most its first 500 characters. */
  text: z.string(),
  /** Whether it is what was looked for, and not only near it. */
  hit: z.boolean(),
});

/** A configuration with lines that were looked for. */
export const FoundConfiguration = z.object({
  siteId: SiteId,
  site: z.string(),
  deviceId: DeviceId,
  device: z.string(),
  platform: z.string(),
  capture: z.string(),
  revisionId: RevisionId,
  /** The revision's, within its capture. */
  number: z.int(),
  lastSeenAt: Instant,
  /** How many lines are what was looked for. */
  hits: z.int(),
  /** The first 20 of them with the lines around, in their order; a gap in the numbers is a gap in the text. */
  lines: z.array(FoundLine),
}).meta({ id: "FoundConfiguration" });
export type FoundConfiguration = z.infer<typeof FoundConfiguration>;

/** Some of what was found, and whether all was looked through on the way. */
export const SearchReply = z.object({
  items: z.array(FoundConfiguration),
  nextCursor: z.string().nullable(),
  /** Something was not looked through; `reason` says what, in plain words. */
  partial: z.boolean(),
  reason: z.string().nullable(),
}).meta({ id: "SearchReply" });
export type SearchReply = z.infer<typeof SearchReply>;

export const searchConfigurations = endpoint({
  method: "GET",
  path: "/api/v1/search",
  access: "backups:read",
  summary: "Search the lines of configurations, with their secrets masked",
  description:
    "By a text, or by a regular expression (POSIX with the escapes of Perl: `\\d`, `\\s`, `\\m` …), one line at a time. " +
    "After five seconds the reply has what was found by then, is partial, and goes on by its cursor",
  query: z.strictObject({
    limit: z.coerce.number<number>().int().min(1).max(200).meta({ type: "integer" }).default(50)
      .describe("How many configurations there are on a page"),
    cursor: Page.shape.cursor,
    text: SearchText.optional()
      .describe("What a line has in it, character by character"),
    pattern: SearchPattern.optional()
      .describe("Instead of a text: a regular expression that a line fulfils"),
    ignoreCase: z.stringbool().default(false).meta({ type: "boolean", default: false })
      .describe("Large and small letters make no difference"),
    context: z.coerce.number<number>().int().min(0).max(10).meta({ type: "integer" }).default(2)
      .describe("Lines to show before and after each that was found"),
    revisions: z.enum(["current", "all"]).default("current")
      .describe(
        "`current`: what devices have now, in the order of devices; `all`: also what they had, newest first",
      ),
    siteId: SiteId.optional()
      .describe("Only of devices at this site"),
    deviceId: DeviceId.optional()
      .describe("Only of this device"),
    tags: TagExpression.optional()
      .describe("Only of devices whose tags fulfil this expression"),
    platform: text(40).meta({ example: "cisco_iosxe" }).optional()
      .describe("Only of devices of this platform"),
    capture: text(40).meta({ example: "running" }).optional()
      .describe("Only of this capture"),
    archived: z.stringbool().default(false).meta({ type: "boolean", default: false })
      .describe("Of archived devices instead of those in use"),
  }).refine(({ text, pattern }) => (text === undefined) !== (pattern === undefined), {
    path: ["text"],
    message: "name either a text or a pattern",
  }),
  reply: SearchReply,
});
