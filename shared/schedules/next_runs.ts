import { calendarRuns } from "./calendar.ts";
import { cronRuns } from "./cron.ts";
import type { Run } from "./run.ts";
import type { Schedule } from "./schedule.ts";

export type { Run };

/** The next `count` runs of a schedule, all later than `after`; fewer when it ends. */
export function nextRuns(
  schedule: Schedule,
  { after, count }: { readonly after: Temporal.Instant; readonly count: number },
): Run[] {
  return runsOf(schedule, laterOf(after, beginOf(schedule))).take(count).toArray();
}

/** The runs of a schedule after an instant, one by one. */
function runsOf(schedule: Schedule, after: Temporal.Instant): Generator<Run> {
  switch (schedule.kind) {
    case "once":
      return onceAt(momentOf(schedule.at), after);
    case "interval":
      return intervalRuns(schedule, after);
    case "cron":
      return cronRuns(schedule, after);
    default:
      return calendarRuns(schedule, after);
  }
}

/** Just before `startAt`, which may be the first run itself. */
function beginOf(schedule: Schedule): Temporal.Instant | undefined {
  if (schedule.kind === "once" || schedule.startAt === undefined) return undefined;
  return momentOf(schedule.startAt).subtract({ nanoseconds: 1 });
}

/** In whole milliseconds: what the database keeps is to be the very same instant. */
function momentOf(text: string): Temporal.Instant {
  return Temporal.Instant.from(text).round({ smallestUnit: "millisecond", roundingMode: "floor" });
}

function laterOf(instant: Temporal.Instant, other: Temporal.Instant | undefined) {
  return other && Temporal.Instant.compare(other, instant) > 0 ? other : instant;
}

function* onceAt(at: Temporal.Instant, after: Temporal.Instant): Generator<Run> {
  if (Temporal.Instant.compare(at, after) > 0) yield { at, key: at.toString() };
}

function* intervalRuns(
  { everyMinutes, startAt }: Extract<Schedule, { kind: "interval" }>,
  after: Temporal.Instant,
): Generator<Run> {
  const anchor = momentOf(startAt ?? "1970-01-01T00:00:00Z").epochNanoseconds;
  const step = BigInt(everyMinutes) * 60_000_000_000n;
  const behind = (after.epochNanoseconds - anchor) % step;
  let at = after.epochNanoseconds - behind + (behind < 0n ? 0n : step);
  for (;; at += step) {
    const instant = new Temporal.Instant(at);
    yield { at: instant, key: instant.toString() };
  }
}
