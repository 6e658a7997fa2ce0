/** Schedules together with what the oracle has to know of them, said twice in different words. */
import type { MonthDay, Schedule } from "@rookery/shared/schedules/schedule.ts";
import { WEEKDAYS } from "@rookery/shared/schedules/schedule.ts";
import type { Day, Rule } from "./oracle.ts";

export interface Case {
  readonly schedule: Schedule;
  readonly rule: Rule;
}

/** 0 to 1, the same row for the same seed. */
export type Random = () => number;

export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  // mulberry32, public domain.
  return () => {
    state = state + 0x6d2b79f5 >>> 0;
    let mixed = Math.imul(state ^ state >>> 15, state | 1);
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
    return ((mixed ^ mixed >>> 14) >>> 0) / 4_294_967_296;
  };
}

/** Sunday is 0 to the oracle, and 6 in `WEEKDAYS`. */
function inOracle(weekday: number): number {
  return (weekday + 1) % 7;
}

export function dailyCase(timeZone: string, minute: number): Case {
  return {
    schedule: { kind: "daily", time: clock(minute), timeZone },
    rule: { times: new Set([minute]), isDay: () => true, elapsed: false },
  };
}

export function weeklyCase(timeZone: string, minute: number, random: Random): Case {
  const chosen = WEEKDAYS.filter(() => random() < 0.5);
  const weekdays = chosen.length > 0 ? chosen : ["sunday" as const];
  const days = weekdays.map((name) => inOracle(WEEKDAYS.indexOf(name)));
  return {
    schedule: { kind: "weekly", weekdays, time: clock(minute), timeZone },
    rule: {
      times: new Set([minute]),
      isDay: ({ weekday }) => days.includes(weekday),
      elapsed: false,
    },
  };
}

export function monthlyCases(timeZone: string, minute: number, random: Random): Case[] {
  const number = 1 + Math.floor(random() * 31);
  const weekday = Math.floor(random() * 7);
  const name = WEEKDAYS[weekday] ?? "sunday";
  const week = 1 + Math.floor(random() * 4);
  const isNth = (day: Day) => day.weekday === inOracle(weekday) && Math.ceil(day.day / 7) === week;
  const isLast = (day: Day) => day.weekday === inOracle(weekday) && day.day + 7 > day.daysInMonth;
  const days: [MonthDay, (day: Day) => boolean][] = [
    [number, ({ day, daysInMonth }) => day === Math.min(number, daysInMonth)],
    ["last", ({ day, daysInMonth }) => day === daysInMonth],
    [{ week, weekday: name }, isNth],
    [{ week: "last", weekday: name }, isLast],
  ];
  return days.map(([day, isDay]) => ({
    schedule: { kind: "monthly", day, time: clock(minute), timeZone },
    rule: { times: new Set([minute]), isDay, elapsed: false },
  }));
}

/** `30,45 2,14 * * *`: fixed times, on some days of the week or month. */
export function fixedCronCase(timeZone: string, minute: number, random: Random): Case {
  const minutes = [minute % 60, Math.floor(random() * 60)];
  const hours = [Math.floor(minute / 60), Math.floor(random() * 24)];
  const [from, to] = [Math.floor(random() * 3), 4 + Math.floor(random() * 3)];
  const onWeekdays = random() < 0.3;
  return {
    schedule: {
      kind: "cron",
      expression: `${minutes} ${hours} * * ${onWeekdays ? `${from}-${to}` : "*"}`,
      timeZone,
    },
    rule: {
      times: timesOf(minutes, hours),
      isDay: ({ weekday }) => !onWeekdays || from <= weekday && weekday <= to,
      elapsed: false,
    },
  };
}

/** `7-59/15 * * * *`: every so many minutes, as time elapses. */
export function elapsedCronCase(timeZone: string, random: Random): Case {
  const step = [10, 15, 20, 30, 45][Math.floor(random() * 5)] ?? 30;
  const offset = Math.floor(random() * step);
  const minutes = Array.from({ length: 60 }, (_, n) => n)
    .filter((n) => n >= offset && (n - offset) % step === 0);
  return {
    schedule: { kind: "cron", expression: `${offset}-59/${step} * * * *`, timeZone },
    rule: {
      times: timesOf(minutes, Array.from({ length: 24 }, (_, n) => n)),
      isDay: () => true,
      elapsed: true,
    },
  };
}

function timesOf(minutes: readonly number[], hours: readonly number[]): Set<number> {
  return new Set(hours.flatMap((hour) => minutes.map((minute) => hour * 60 + minute)));
}

function clock(minute: number): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${two(Math.floor(minute / 60))}:${two(minute % 60)}`;
}
