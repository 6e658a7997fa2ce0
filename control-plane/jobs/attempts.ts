import { type RawBuilder, sql } from "kysely";
import { type FailureClass, RETRY_POLICIES } from "@rookery/shared/jobs/failure.ts";
import { inForce } from "../settings/in_force.ts";

/** The classes whose count an installation may change. A refused login is never tried again, whatever anybody sets. */
const SETTINGS = {
  transport: "jobs.transport_attempts",
  busy: "jobs.busy_attempts",
  driver: "jobs.driver_attempts",
  session: "jobs.session_attempts",
} as const;

/** How many attempts a class of failures is worth, as SQL. */
export function attemptsInForce(failureClass: FailureClass): RawBuilder<number> {
  return failureClass in SETTINGS
    ? inForce(SETTINGS[failureClass as keyof typeof SETTINGS])
    : sql`${RETRY_POLICIES[failureClass].attempts}::int`;
}
