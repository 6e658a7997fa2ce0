import { z } from "zod";
import { isCron, NOT_CRON } from "./cron.ts";
import { TimeZone } from "./time_zone.ts";

/** In the order of ISO 8601: the first is the day after Sunday. */
export const WEEKDAYS = [
  "monday",
  "tuesday",
  "wednesday",
  "thursday",
  "friday",
  "saturday",
  "sunday",
] as const;
export const Weekday = z.enum(WEEKDAYS).meta({ id: "Weekday" });
export type Weekday = z.infer<typeof Weekday>;

/** Some days of the week, each once. */
export const Weekdays = z.array(Weekday).min(1).max(7).refine(
  (days) => new Set(days).size === days.length,
  "must not name a day twice",
);

/** A time of day on a wall clock, to the minute. */
export const LocalTime = z.string().regex(
  /^(?:[01]\d|2[0-3]):[0-5]\d$/,
  "must be a time of day such as 02:30",
).meta({ example: "02:30" });

/** An instant as `Temporal` reads it: zod lets fractions through that have more digits than a clock. */
export const Moment = z.iso.datetime({ offset: true, abort: true })
  .refine(isMoment, "must be a time such as 2026-01-31T12:00:00Z");

function isMoment(text: string): boolean {
  try {
    Temporal.Instant.from(text);
    return true;
  } catch {
    return false;
  }
}

/** Which day of a month: 1 to 31 (the last day, where a month is shorter), the last, or the nth or last of a weekday. */
export const MonthDay = z.union([
  z.int().min(1).max(31),
  z.literal("last"),
  z.strictObject({
    week: z.union([z.int().min(1).max(4), z.literal("last")], "must be 1, 2, 3, 4 or last"),
    weekday: Weekday,
  }),
], 'must be 1 to 31, "last", or such as {"week": "last", "weekday": "friday"}');
export type MonthDay = z.infer<typeof MonthDay>;

const ZONE = { timeZone: TimeZone.default("UTC") };
/** Recurring ones may begin later than now. */
const RECURRING = { ...ZONE, startAt: Moment.optional() };

/**
 * When something recurs. Times of day are those of a wall clock in the zone; on each matching local day there is
 * exactly one run: a time that summer time skips runs at the first instant after the gap, a repeated one the first time.
 * Intervals, and cron expressions with `*` or `/` in minute or hour, follow elapsed time.
 */
export const Schedule = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("once"), at: Moment, ...ZONE }),
  z.strictObject({
    kind: z.literal("interval"),
    /** Counted from `startAt`, or from midnight UTC, so that a restart moves nothing. */
    everyMinutes: z.int().min(1).max(527_040),
    ...RECURRING,
  }),
  z.strictObject({ kind: z.literal("daily"), time: LocalTime, ...RECURRING }),
  z.strictObject({
    kind: z.literal("weekly"),
    weekdays: Weekdays,
    time: LocalTime,
    ...RECURRING,
  }),
  z.strictObject({ kind: z.literal("monthly"), day: MonthDay, time: LocalTime, ...RECURRING }),
  z.strictObject({
    kind: z.literal("cron"),
    /** Five fields: minute, hour, day of month, month, day of week. */
    expression: z.string().trim().max(120).refine(isCron, NOT_CRON).meta({
      example: "30 2 * * 1-5",
    }),
    ...RECURRING,
  }),
]).meta({ id: "Schedule" });
export type Schedule = z.infer<typeof Schedule>;
