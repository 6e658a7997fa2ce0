/**
 * How a credential version earns trust and loses it (DESIGN section 5): one session at a time, then twice as many after
 * each success, then no limit; back to one after a refusal or a long silence.
 */
import { sql } from "kysely";

/** A ramp beyond this is no limit any more. */
export const RAMP_END = 64;
/**
 * How long a success vouches for a version. After a longer silence the ramp begins anew, so that a password that was
 * rotated between two nights is refused by a few devices and not by as many as may run at once.
 */
export const TRUST_SECONDS = 900;

/** Of a row `v` of credential_versions whose last success is too old to go by. */
export const isStale = sql<boolean>`(v.last_success_at is not null
  and v.last_success_at < clock_timestamp() - make_interval(secs => ${TRUST_SECONDS}))`;

/** How many leases may use the version in the row `v` at the same time; null: no limit. */
export const liveLimit = sql<number | null>`(case when v.state = 'quarantined' then 0
  when v.state = 'suspect' or ${isStale} then 1 else v.ramp end)`;
