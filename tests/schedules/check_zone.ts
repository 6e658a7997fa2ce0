import assert from "node:assert/strict";
import { nextRuns, type Run } from "@rookery/shared/schedules/next_runs.ts";
import { Schedule } from "@rookery/shared/schedules/schedule.ts";
import { expectedRuns, type Span } from "./oracle.ts";
import {
  type Case,
  dailyCase,
  elapsedCronCase,
  fixedCronCase,
  monthlyCases,
  type Random,
  weeklyCase,
} from "./rules.ts";
import { readSegments, type Segment } from "./zone_table.ts";

const DAY = 1_440;

/** What was compared. */
export interface Checked {
  readonly transitions: number;
  readonly schedules: number;
  readonly runs: number;
}

/**
 * Compares schedules of every kind with the oracle: around each transition of a zone in a span with times of day that it
 * skips or repeats, and monthly ones over the whole span.
 */
export function checkZone(zone: string, span: Span, random: Random): Checked {
  const segments = readSegments(zone, span.from - 5 * DAY, span.to + 5 * DAY);
  const turns = segments.slice(1).filter(({ from }) => span.from <= from && from < span.to);
  let [schedules, runs] = [0, 0];
  const compare = (one: Case, within: Span) => {
    runs += checkCase(one, segments, within);
    schedules++;
  };
  for (const turn of turns) {
    const around = { from: turn.from - 2 * DAY - 7, to: turn.from + 3 * DAY };
    const minute = minuteNear(segments, turn, random);
    compare(dailyCase(zone, minute), around);
    compare(weeklyCase(zone, minute, random), around);
    compare(fixedCronCase(zone, minute, random), around);
    compare(elapsedCronCase(zone, random), { from: turn.from - 90, to: turn.from + 240 });
  }
  const last = turns.at(-1);
  const minute = last ? minuteNear(segments, last, random) : Math.floor(random() * DAY);
  for (const one of monthlyCases(zone, minute, random)) compare(one, span);
  return { transitions: turns.length, schedules, runs };
}

/** A minute of the day that a transition skips or repeats, or one within the hour beside it. */
function minuteNear(segments: readonly Segment[], turn: Segment, random: Random): number {
  const before = segments[segments.indexOf(turn) - 1]?.offset ?? turn.offset;
  const [low, high] = [before, turn.offset].sort((left, right) => left - right);
  const local = turn.from + (low ?? 0) - 60 + random() * ((high ?? 0) - (low ?? 0) + 120);
  return (Math.floor(local) % DAY + DAY) % DAY;
}

function checkCase({ schedule, rule }: Case, segments: readonly Segment[], span: Span): number {
  const expected = expectedRuns(rule, segments, span);
  const parsed = Schedule.parse(schedule);
  const after = instantAt(span.from).subtract({ nanoseconds: 1 });
  const runs = nextRuns(parsed, { after, count: expected.length + 1 });
  assert.deepEqual(
    runs.map(textOf).slice(0, expected.length),
    expected.map(textAt),
    text(schedule),
  );
  const next = runs[expected.length];
  assert.ok(next && Temporal.Instant.compare(next.at, instantAt(span.to)) >= 0, text(schedule));
  assert.equal(new Set(runs.map(({ key }) => key)).size, runs.length, `keys of ${text(schedule)}`);
  return expected.length;
}

function instantAt(minute: number): Temporal.Instant {
  return Temporal.Instant.fromEpochMilliseconds(minute * 60_000);
}

function textAt(minute: number): string {
  return instantAt(minute).toString();
}

function textOf({ at }: Run): string {
  return at.toString();
}

function text(schedule: unknown): string {
  return JSON.stringify(schedule);
}
