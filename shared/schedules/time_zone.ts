import { z } from "zod";

/** An IANA time zone that this runtime knows, for showing times as well as for computing with them. */
export const TimeZone = z.string().max(60).refine(
  isTimeZone,
  "must be an IANA time zone such as Europe/Oslo",
).meta({ example: "Europe/Oslo" });

function isTimeZone(name: string): boolean {
  // Offsets (`+02:00`) are time zones to Intl, but know of no summer.
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    // Intl knows names that Temporal does not, such as IST: three zones use it.
    return Boolean(new Intl.DateTimeFormat("en", { timeZone: name })) &&
      Boolean(new Temporal.ZonedDateTime(0n, name));
  } catch {
    return false;
  }
}
