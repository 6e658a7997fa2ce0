import type { z } from "zod";
import { DayWindow } from "./day_window.ts";
import { WEEKDAYS } from "./schedule.ts";
import { instantOf } from "./wall_time.ts";

/** When nothing is to be started, by the wall clock of a zone. */
export const Blackout = DayWindow.meta({ id: "Blackout" });
export type Blackout = z.infer<typeof Blackout>;

/** Whether an instant lies in one of the windows. */
export function isInBlackout(
  blackouts: readonly Blackout[],
  { at, timeZone }: { readonly at: Temporal.Instant; readonly timeZone: string },
): boolean {
  if (blackouts.length === 0) return false;
  const wall = at.toZonedDateTimeISO(timeZone).toPlainDateTime();
  const time = wall.toString().slice(11, 16);
  return blackouts.some((blackout) => {
    const { from, to } = blackout;
    if (from < to) return beginsOn(blackout, wall) && from <= time && time < to;
    return beginsOn(blackout, wall) && from <= time ||
      beginsOn(blackout, wall.subtract({ days: 1 })) && time < to;
  });
}

/** When the next window begins after an instant, within a week and a day; else undefined. */
export function nextBlackout(
  blackouts: readonly Blackout[],
  { after, timeZone }: { readonly after: Temporal.Instant; readonly timeZone: string },
): Temporal.Instant | undefined {
  const today = after.toZonedDateTimeISO(timeZone).toPlainDate();
  const begins = blackouts.flatMap((blackout) =>
    Array.from({ length: 9 }, (_, days) => today.add({ days }).toPlainDateTime(blackout.from))
      .filter((wall) => beginsOn(blackout, wall))
      .flatMap((wall) => instantOf(wall, timeZone) ?? [])
  );
  return begins.filter((begin) => Temporal.Instant.compare(begin, after) > 0)
    .sort(Temporal.Instant.compare)[0];
}

/** The first instant from `at` on that lies in no window; undefined when they leave no gap for a week. */
export function afterBlackouts(
  blackouts: readonly Blackout[],
  { at, timeZone }: { readonly at: Temporal.Instant; readonly timeZone: string },
): Temporal.Instant | undefined {
  let instant = at;
  const week = at.add({ hours: 7 * 24 });
  while (isInBlackout(blackouts, { at: instant, timeZone })) {
    const end = nextEnd(blackouts, instant, timeZone);
    if (end === undefined || Temporal.Instant.compare(end, week) > 0) return undefined;
    instant = end;
  }
  return instant;
}

/** When the next window could end, whichever of them is open. */
function nextEnd(blackouts: readonly Blackout[], after: Temporal.Instant, timeZone: string) {
  const today = after.toZonedDateTimeISO(timeZone).toPlainDate();
  const ends = blackouts.flatMap(({ to }) =>
    [0, 1, 2].flatMap((days) => {
      const wall = to === "24:00"
        ? today.add({ days: days + 1 }).toPlainDateTime()
        : today.add({ days }).toPlainDateTime(to);
      return instantOf(wall, timeZone) ?? [];
    })
  );
  return ends.filter((end) => Temporal.Instant.compare(end, after) > 0)
    .sort(Temporal.Instant.compare)[0];
}

function beginsOn({ weekdays }: Blackout, { dayOfWeek }: Temporal.PlainDateTime): boolean {
  const weekday = WEEKDAYS[dayOfWeek - 1];
  return weekdays === undefined || weekday !== undefined && weekdays.includes(weekday);
}
