/**
 * The instant at which a wall clock in `zone` is to have shown `wall`, by the one rule for all schedules: a repeated time
 * is its first, a skipped one the first instant after the gap. Undefined when the whole local day is skipped, as
 * 2011-12-30 in Pacific/Apia.
 */
export function instantOf(
  wall: Temporal.PlainDateTime,
  zone: string,
): Temporal.Instant | undefined {
  // In a gap "earlier" is an instant before it, whose next transition is the gap's.
  const zoned = wall.toZonedDateTime(zone, { disambiguation: "earlier" });
  if (zoned.toPlainDateTime().equals(wall)) return zoned.toInstant();
  const end = zoned.getTimeZoneTransition("next");
  if (!end) throw new RangeError(`Cannot place ${wall} in ${zone}: the gap has no end`);
  const begin = end.toInstant().subtract({ nanoseconds: 1 }).toZonedDateTimeISO(zone);
  const day = wall.toPlainDate();
  const isDay = day.equals(begin.toPlainDate()) || day.equals(end.toPlainDate());
  return isDay ? end.toInstant() : undefined;
}

/** What the wall clock shows, to the minute: `2026-03-29T02:30`. */
export function wallText(wall: Temporal.PlainDateTime): string {
  return wall.toString({ smallestUnit: "minute" });
}
