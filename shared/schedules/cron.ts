import { Cron } from "croner";
import type { Run } from "./run.ts";
import { instantOf, wallText } from "./wall_time.ts";

export const NOT_CRON =
  "must be a cron expression that comes to pass, of five fields such as 30 2 * * 1-5";

/** Wall times that are read at once; see `fixedRuns`. */
const MARGIN_MS = 2 * 86_400_000;

/** Whether an expression can be read and ever comes to pass. Seconds, years and `@daily` are not read. */
export function isCron(expression: string): boolean {
  try {
    return parse(expression, "UTC").nextRun(new Date(0)) !== null;
  } catch {
    return false;
  }
}

function parse(expression: string, timezone: string): Cron {
  // Nicknames and dates, which croner would read as well.
  if (/[@:]/.test(expression)) throw new TypeError("Cannot read this as a cron expression");
  return new Cron(expression, { mode: "5-part", timezone });
}

export interface CronSchedule {
  readonly expression: string;
  readonly timeZone: string;
}

/** The runs of a cron expression after an instant; ends where the expression does. */
export function cronRuns(schedule: CronSchedule, after: Temporal.Instant): Generator<Run> {
  const [minute = "", hour = ""] = schedule.expression.split(/\s+/);
  return /[*?/]/.test(minute + hour) ? elapsedRuns(schedule, after) : fixedRuns(schedule, after);
}

/**
 * Fixed times of day, by the same rule as daily ones. The wall times are read in UTC, which skips and repeats none:
 * in the zone itself croner would leave out what falls into a gap that ends with its day (America/Nuuk in March).
 */
function* fixedRuns({ expression, timeZone }: CronSchedule, after: Temporal.Instant) {
  const { epochMilliseconds } = after.toZonedDateTimeISO(timeZone).toPlainDateTime()
    .toZonedDateTime("UTC");
  let last = after;
  for (const date of datesAfter(parse(expression, "UTC"), epochMilliseconds - MARGIN_MS)) {
    const wall = date.toTemporalInstant().toZonedDateTimeISO("UTC").toPlainDateTime();
    const at = instantOf(wall, timeZone);
    // Several times that one gap skips are one run.
    if (at === undefined || Temporal.Instant.compare(at, last) <= 0) continue;
    yield { at, key: `${wallText(wall)}[${timeZone}]` };
    last = at;
  }
}

/** Every so many minutes or hours: as time elapses, so that what the clock repeats runs again. */
function* elapsedRuns({ expression, timeZone }: CronSchedule, after: Temporal.Instant) {
  for (const date of datesAfter(parse(expression, timeZone), after.epochMilliseconds)) {
    const at = date.toTemporalInstant();
    const wall = at.toZonedDateTimeISO(timeZone).toPlainDateTime();
    const isRepeated = !instantOf(wall, timeZone)?.equals(at);
    yield { at, key: `${wallText(wall)}[${timeZone}]${isRepeated ? "#2" : ""}` };
  }
}

function* datesAfter(cron: Cron, afterMs: number): Generator<Date> {
  for (let date = cron.nextRun(new Date(afterMs)); date; date = cron.nextRun(date)) yield date;
}
