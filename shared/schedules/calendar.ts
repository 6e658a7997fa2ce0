import type { Run } from "./run.ts";
import { type MonthDay, type Schedule, type Weekday, WEEKDAYS } from "./schedule.ts";
import { instantOf, wallText } from "./wall_time.ts";

type CalendarSchedule = Extract<Schedule, { kind: "daily" | "weekly" | "monthly" }>;

/** A wall time can be a day away from where a zone that jumps over the date line puts it. */
const MARGIN = { days: 2 };

/** The runs of a daily, weekly or monthly schedule after an instant, without end. */
export function* calendarRuns(
  schedule: CalendarSchedule,
  after: Temporal.Instant,
): Generator<Run, never> {
  const { timeZone, time } = schedule;
  const from = after.toZonedDateTimeISO(timeZone).toPlainDate().subtract(MARGIN);
  for (const date of datesOf(schedule, from)) {
    const wall = date.toPlainDateTime(time);
    const at = instantOf(wall, timeZone);
    if (at === undefined || Temporal.Instant.compare(at, after) <= 0) continue;
    yield { at, key: `${wallText(wall)}[${timeZone}]` };
  }
  throw new RangeError("Cannot go on: the calendar has ended");
}

function* datesOf(schedule: CalendarSchedule, from: Temporal.PlainDate) {
  if (schedule.kind === "monthly") {
    for (let month = from.toPlainYearMonth();; month = month.add({ months: 1 })) {
      yield dayOf(month, schedule.day);
    }
  }
  const days = schedule.kind === "daily" ? WEEKDAYS : schedule.weekdays;
  const wanted = new Set(days.map(numberOf));
  for (let date = from;; date = date.add({ days: 1 })) {
    if (wanted.has(date.dayOfWeek)) yield date;
  }
}

function dayOf(month: Temporal.PlainYearMonth, which: MonthDay): Temporal.PlainDate {
  if (typeof which === "number") return month.toPlainDate({ day: which });
  const last = month.toPlainDate({ day: month.daysInMonth });
  if (which === "last") return last;
  const weekday = numberOf(which.weekday);
  if (which.week === "last") {
    return last.subtract({ days: (last.dayOfWeek - weekday + 7) % 7 });
  }
  const first = month.toPlainDate({ day: 1 });
  const days = (weekday - first.dayOfWeek + 7) % 7 + 7 * (which.week - 1);
  return first.add({ days });
}

/** As ISO 8601 and Temporal count: Monday is 1. */
function numberOf(weekday: Weekday): number {
  return WEEKDAYS.indexOf(weekday) + 1;
}
