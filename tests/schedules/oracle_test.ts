import assert from "node:assert/strict";
import process from "node:process";
import { checkZone } from "./check_zone.ts";
import { randomOf } from "./rules.ts";
import { minuteOf, readSegments } from "./zone_table.ts";

const FIRST_YEAR = 2000;
const LAST_YEAR = 2040;
const ALL = Deno.env.get("ROOKERY_ALL_ZONES") === "1";
const SEED = Number(Deno.env.get("ROOKERY_SEED") ?? Math.floor(Math.random() * 2 ** 31));

/** Zones with what no other has, and a year in which it shows. */
const NAMED: Readonly<Record<string, readonly number[]>> = {
  "Australia/Lord_Howe": [2026, 2027],
  "Pacific/Apia": [2010, 2011, 2012],
  "Africa/Casablanca": [2018, 2026, 2037],
  "Asia/Gaza": [2011, 2016, 2026, 2038],
  "America/Nuuk": [2024],
  "America/Sao_Paulo": [2018],
  "Asia/Pyongyang": [2015, 2018],
  "America/Caracas": [2007, 2016],
  "Europe/Oslo": [2026],
  "America/New_York": [2026],
  "Antarctica/Troll": [2026],
  "Asia/Kathmandu": [2026],
};

function yearOf(zone: string, year: number) {
  return checkZone(
    zone,
    { from: minuteOf(year), to: minuteOf(year + 1) },
    randomOf(SEED ^ year),
  );
}

Deno.test("nextRuns() agrees with the minute-by-minute oracle where time zones are at their strangest", () => {
  for (const [zone, years] of Object.entries(NAMED)) {
    for (const year of years) {
      assert.ok(yearOf(zone, year).runs > 0, `${zone} in ${year}, seed ${SEED}`);
    }
  }
});

Deno.test("nextRuns() agrees with the oracle in random zones and years", () => {
  const random = randomOf(SEED);
  const zones = Intl.supportedValuesOf("timeZone");
  const pick = <Value>(values: readonly Value[]) =>
    values[Math.floor(random() * values.length)] ?? assert.fail();
  const until = performance.now() + 4_000;
  for (let tries = 0; tries < 60 && performance.now() < until; tries++) {
    const year = FIRST_YEAR + Math.floor(random() * (LAST_YEAR - FIRST_YEAR + 1));
    assert.ok(yearOf(pick(zones), year).schedules > 0, `seed ${SEED}`);
  }
});

// Ten minutes of computing: for whoever changes the rules.
if (ALL) {
  Deno.test("nextRuns() agrees with the oracle in all zones with transitions, 2000 to 2040", () => {
    const span = { from: minuteOf(FIRST_YEAR), to: minuteOf(LAST_YEAR + 1) };
    const sum = { zones: 0, transitions: 0, schedules: 0, runs: 0 };
    for (const zone of Intl.supportedValuesOf("timeZone")) {
      if (readSegments(zone, span.from, span.to).length === 1) continue;
      const checked = checkZone(zone, span, randomOf(SEED));
      sum.zones++;
      sum.transitions += checked.transitions;
      sum.schedules += checked.schedules;
      sum.runs += checked.runs;
    }
    assert.ok(sum.zones > 200);
    // deno-lint-ignore no-console -- whoever asks for the long run wants its figures
    console.log(`${JSON.stringify(sum)}, seed ${SEED}, time zones ${process.versions.tz}`);
  });
}
