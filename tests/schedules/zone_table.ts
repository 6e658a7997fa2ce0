/**
 * What wall clocks show, by minutes since 1970 in UTC: read from Intl alone, so that the oracle shares no rule about time
 * zones with what it judges.
 */

/** From this minute on, local time is UTC and so many minutes. */
export interface Segment {
  readonly from: number;
  readonly offset: number;
}

/** Zones that change twice within this time would be misread; none has since 2000. */
const STEP = 180;

/** The offsets of a zone from one minute to another. */
export function readSegments(zone: string, from: number, to: number): readonly Segment[] {
  const offsetAt = offsetReader(zone);
  const segments = [{ from, offset: offsetAt(from) }];
  for (let minute = from; minute < to; minute += STEP) {
    const before = segments.at(-1)?.offset;
    if (offsetAt(minute + STEP) === before) continue;
    let [low, high] = [minute, minute + STEP];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (offsetAt(middle) === before) low = middle;
      else high = middle;
    }
    segments.push({ from: high, offset: offsetAt(high) });
  }
  return segments;
}

function offsetReader(timeZone: string): (minute: number) => number {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
  });
  return (minute) => {
    const [month = 0, day, year = 0, hour, minutes] = (format.format(minute * 60_000)
      .match(/\d+/g) ?? []).map(Number);
    return Date.UTC(year, month - 1, day, hour, minutes) / 60_000 - minute;
  };
}

/** Minutes since 1970 of a date in UTC. */
export function minuteOf(year: number, month = 1, day = 1): number {
  return Date.UTC(year, month - 1, day) / 60_000;
}
