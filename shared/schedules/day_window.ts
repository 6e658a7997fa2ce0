import { z } from "zod";
import { LocalTime, Weekdays } from "./schedule.ts";

/**
 * A part of days by a wall clock: from `from` to just before `to`, which is on the next day when it is not later.
 * `weekdays` are those on which it begins; every day without them.
 */
export const DayWindow = z.strictObject({
  weekdays: Weekdays.optional(),
  from: LocalTime,
  to: z.union([LocalTime, z.literal("24:00")], "must be a time of day such as 06:00, or 24:00"),
}).refine(({ from, to }) => from !== to, {
  path: ["to"],
  message: "must differ from `from`; a whole day is from 00:00 to 24:00",
});
