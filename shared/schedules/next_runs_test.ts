import assert from "node:assert/strict";
import { fieldErrors } from "../field_errors.ts";
import { Blackout, isInBlackout, nextBlackout } from "./blackout.ts";
import { nextRuns } from "./next_runs.ts";
import { Schedule } from "./schedule.ts";

function runs(schedule: unknown, after: string, count = 3): string[] {
  const parsed = Schedule.parse(schedule);
  return nextRuns(parsed, { after: Temporal.Instant.from(after), count })
    .map(({ at }) => at.toString());
}

function keys(schedule: unknown, after: string, count = 3): string[] {
  const parsed = Schedule.parse(schedule);
  return nextRuns(parsed, { after: Temporal.Instant.from(after), count }).map(({ key }) => key);
}

const OSLO = { timeZone: "Europe/Oslo" };

Deno.test("nextRuns() runs once, and never before or at `after`", () => {
  const once = { kind: "once", at: "2026-03-01T10:00:00+01:00" };
  assert.deepEqual(runs(once, "2026-03-01T08:59:59Z"), ["2026-03-01T09:00:00Z"]);
  assert.deepEqual(runs(once, "2026-03-01T09:00:00Z"), []);
});

Deno.test("nextRuns() counts intervals from midnight UTC or from startAt, across summer time", () => {
  assert.deepEqual(runs({ kind: "interval", everyMinutes: 90, ...OSLO }, "2026-03-29T00:10:00Z"), [
    "2026-03-29T01:30:00Z",
    "2026-03-29T03:00:00Z",
    "2026-03-29T04:30:00Z",
  ]);
  const later = { kind: "interval", everyMinutes: 60, startAt: "2026-05-01T00:07:00Z" };
  assert.deepEqual(runs(later, "2026-01-01T00:00:00Z", 2), [
    "2026-05-01T00:07:00Z",
    "2026-05-01T01:07:00Z",
  ]);
  assert.deepEqual(runs(later, "2026-05-01T00:07:00Z", 1), ["2026-05-01T01:07:00Z"]);
});

Deno.test("nextRuns() runs daily at the first instant after a gap and at the first of two equal times", () => {
  const spring = { kind: "daily", time: "02:30", ...OSLO };
  assert.deepEqual(runs(spring, "2026-03-28T00:00:00Z"), [
    "2026-03-28T01:30:00Z",
    "2026-03-29T01:00:00Z",
    "2026-03-30T00:30:00Z",
  ]);
  assert.deepEqual(keys(spring, "2026-03-28T12:00:00Z", 1), ["2026-03-29T02:30[Europe/Oslo]"]);
  assert.deepEqual(runs(spring, "2026-10-24T12:00:00Z", 2), [
    "2026-10-25T00:30:00Z",
    "2026-10-26T01:30:00Z",
  ]);
});

Deno.test("nextRuns() has no run on a day that a zone skips, and one in a gap that ends a day", () => {
  assert.deepEqual(
    runs({ kind: "daily", time: "12:00", timeZone: "Pacific/Apia" }, "2011-12-29T00:00:00Z"),
    ["2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T22:00:00Z"],
  );
  const saturday = { kind: "weekly", weekdays: ["saturday"], time: "23:30" };
  const inNuuk = { timeZone: "America/Nuuk" };
  const expected = ["2024-03-31T01:00:00Z", "2024-04-07T00:30:00Z"];
  assert.deepEqual(runs({ ...saturday, ...inNuuk }, "2024-03-29T12:00:00Z", 2), expected);
  const cron = { kind: "cron", expression: "30 23 * * 6", ...inNuuk };
  assert.deepEqual(runs(cron, "2024-03-29T12:00:00Z", 2), expected);
});

Deno.test("nextRuns() takes a weekly run of the same day while its time is ahead, Mondays too", () => {
  const weekly = { kind: "weekly", weekdays: ["monday"], time: "14:00", ...OSLO };
  assert.deepEqual(runs(weekly, "2026-06-01T11:59:00Z", 2), [
    "2026-06-01T12:00:00Z",
    "2026-06-08T12:00:00Z",
  ]);
});

Deno.test("nextRuns() runs monthly on a day, on the last one where there is no 31st, and on weekdays", () => {
  const monthly = (day: unknown, after: string) =>
    runs({ kind: "monthly", day, time: "01:00" }, after).map((text) => text.slice(0, 10));
  assert.deepEqual(monthly(31, "2028-01-31T01:00:00Z"), ["2028-02-29", "2028-03-31", "2028-04-30"]);
  assert.deepEqual(monthly("last", "2026-02-01T00:00:00Z"), [
    "2026-02-28",
    "2026-03-31",
    "2026-04-30",
  ]);
  const second = { week: 2, weekday: "tuesday" };
  assert.deepEqual(monthly(second, "2026-11-27T00:00:00Z"), [
    "2026-12-08",
    "2027-01-12",
    "2027-02-09",
  ]);
  const last = { week: "last", weekday: "friday" };
  assert.deepEqual(monthly(last, "2026-11-27T02:00:00Z").slice(0, 2), ["2026-12-25", "2027-01-29"]);
});

Deno.test("nextRuns() keeps fixed cron times once a day and lets steps follow elapsed time", () => {
  const fixed = { kind: "cron", expression: "0,30 2 * * *", ...OSLO };
  assert.deepEqual(runs(fixed, "2026-03-28T12:00:00Z"), [
    "2026-03-29T01:00:00Z",
    "2026-03-30T00:00:00Z",
    "2026-03-30T00:30:00Z",
  ]);
  const hourly = { kind: "cron", expression: "30 * * * *", ...OSLO };
  assert.deepEqual(runs(hourly, "2026-10-25T00:00:00Z"), [
    "2026-10-25T00:30:00Z",
    "2026-10-25T01:30:00Z",
    "2026-10-25T02:30:00Z",
  ]);
  assert.deepEqual(keys(hourly, "2026-10-25T00:00:00Z"), [
    "2026-10-25T02:30[Europe/Oslo]",
    "2026-10-25T02:30[Europe/Oslo]#2",
    "2026-10-25T03:30[Europe/Oslo]",
  ]);
});

Deno.test("Schedule refuses what cannot be, and names the field", () => {
  const daily = { kind: "daily", time: "02:30" };
  const refused: [unknown, string][] = [
    [{ ...daily, timeZone: "Europe/Atlantis" }, "#/timeZone"],
    [{ ...daily, timeZone: "+02:00" }, "#/timeZone"],
    [{ ...daily, timeZone: "IST" }, "#/timeZone"],
    [{ ...daily, time: "24:00" }, "#/time"],
    [{ ...daily, startAt: "yesterday" }, "#/startAt"],
    [{ kind: "yearly" }, "#/kind"],
    [{ kind: "once", at: "2026-02-30T00:00:00Z" }, "#/at"],
    [{ kind: "once", at: "2026-02-28T00:00:00.1234567890123Z" }, "#/at"],
    [{ kind: "interval", everyMinutes: 0 }, "#/everyMinutes"],
    [{ kind: "weekly", weekdays: [], time: "02:30" }, "#/weekdays"],
    [{ kind: "weekly", weekdays: ["monday", "monday"], time: "02:30" }, "#/weekdays"],
    [{ kind: "monthly", day: 32, time: "02:30" }, "#/day"],
    [{ kind: "monthly", day: { week: 5, weekday: "monday" }, time: "02:30" }, "#/day/week"],
    [{ kind: "cron", expression: "0 30 2 * * *" }, "#/expression"],
    [{ kind: "cron", expression: "0 0 30 2 *" }, "#/expression"],
    [{ kind: "cron", expression: "@daily" }, "#/expression"],
    [{ kind: "cron", expression: "2026-12-24T00:00:00Z" }, "#/expression"],
    [{ kind: "cron", expression: "61 * * * *" }, "#/expression"],
  ];
  for (const [schedule, pointer] of refused) {
    const { error } = Schedule.safeParse(schedule);
    const pointers = error && fieldErrors(error, "body").map((field) => field.pointer);
    assert.deepEqual(pointers, [pointer], JSON.stringify(schedule));
  }
});

Deno.test("isInBlackout() follows the wall clock, over midnight and on the weekdays it begins on", () => {
  const inside = (blackout: unknown, at: string) =>
    isInBlackout([Blackout.parse(blackout)], { at: Temporal.Instant.from(at), ...OSLO });
  const night = { from: "22:00", to: "06:00", weekdays: ["friday"] };
  assert.deepEqual(
    ["2026-07-03T19:59:59Z", "2026-07-03T20:00:00Z", "2026-07-04T03:59:59Z", "2026-07-04T04:00:00Z"]
      .map((at) => inside(night, at)),
    [false, true, true, false],
  );
  assert.equal(inside(night, "2026-07-02T21:00:00Z"), false);
  assert.equal(inside({ from: "00:00", to: "24:00" }, "2026-07-02T21:59:59Z"), true);
  assert.equal(Blackout.safeParse({ from: "06:00", to: "06:00" }).success, false);
});

Deno.test("nextBlackout() is the first window that begins later, and none without windows", () => {
  const blackouts = [
    Blackout.parse({ from: "22:00", to: "06:00", weekdays: ["friday"] }),
    Blackout.parse({ from: "12:00", to: "13:00", weekdays: ["sunday"] }),
  ];
  const after = (at: string) => ({ after: Temporal.Instant.from(at), ...OSLO });
  assert.equal(
    nextBlackout(blackouts, after("2026-07-03T20:00:00Z"))?.toString(),
    "2026-07-05T10:00:00Z",
  );
  assert.equal(nextBlackout([], after("2026-07-03T20:00:00Z")), undefined);
});
