/**
 * When schedules run, found by walking minute after minute through UTC and looking at the wall clock: slow, plain, and
 * without a line of what it judges. It knows the Gregorian calendar from `Date.UTC` and time zones from `zone_table.ts`.
 */
import type { Segment } from "./zone_table.ts";

const DAY = 1_440;

/** A day of the calendar, anywhere. */
export interface Day {
  readonly month: number;
  readonly day: number;
  readonly daysInMonth: number;
  /** Sunday is 0. */
  readonly weekday: number;
}

export interface Rule {
  /** Minutes of the day. */
  readonly times: ReadonlySet<number>;
  readonly isDay: (day: Day) => boolean;
  /** Whether each pass of a repeated time counts, and a skipped one does not. */
  readonly elapsed: boolean;
}

export interface Span {
  readonly from: number;
  readonly to: number;
}

/** The minutes in a span at which a rule runs; `segments` begin at least three days before it. */
export function expectedRuns(
  rule: Rule,
  segments: readonly Segment[],
  { from, to }: Span,
): number[] {
  const isDay = rememberDays(rule.isDay);
  const seen = new Set<number>();
  const runs: number[] = [];
  const times = Uint8Array.from({ length: DAY }, (_, minute) => rule.times.has(minute) ? 1 : 0);
  const wants = (local: number) => times[local % DAY] === 1 && isDay(Math.floor(local / DAY));
  walk(segments, { from: from - 3 * DAY, to }, (minute, local, previous) => {
    const isJump = local - previous > 1 && !rule.elapsed;
    if (!isJump && !wants(local)) return;
    const owed = [...(isJump ? skipped(previous, local) : []), local].filter(wants);
    const fresh = rule.elapsed ? owed : owed.filter((wall) => !seen.has(wall));
    for (const wall of fresh) seen.add(wall);
    if (fresh.length > 0 && minute >= from) runs.push(minute);
  });
  return runs;
}

/** The wall minutes between two that follow each other, of days that the clock shows at all. */
function skipped(previous: number, local: number): number[] {
  const days = [previous, local].map((wall) => Math.floor(wall / DAY));
  return Array.from({ length: local - previous - 1 }, (_, n) => previous + 1 + n)
    .filter((wall) => days.includes(Math.floor(wall / DAY)));
}

function walk(
  segments: readonly Segment[],
  { from, to }: Span,
  visit: (minute: number, local: number, previous: number) => void,
): void {
  let previous: number | undefined;
  segments.forEach(({ from: begin, offset }, index) => {
    const end = Math.min(to, segments[index + 1]?.from ?? to);
    for (let minute = Math.max(begin, from); minute < end; minute++) {
      const local = minute + offset;
      visit(minute, local, previous ?? local - 1);
      previous = local;
    }
  });
}

function rememberDays(isDay: Rule["isDay"]): (number: number) => boolean {
  const known = new Map<number, boolean>();
  return (number) => {
    const answer = known.get(number) ?? isDay(dayOf(number));
    known.set(number, answer);
    return answer;
  };
}

function dayOf(number: number): Day {
  const date = new Date(number * 86_400_000);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  return {
    month: month + 1,
    day: date.getUTCDate(),
    daysInMonth: new Date(Date.UTC(year, month + 1, 0)).getUTCDate(),
    weekday: date.getUTCDay(),
  };
}
