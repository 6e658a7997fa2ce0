import { type RawBuilder, sql } from "kysely";
import type { DeviceId, PolicyId, SiteId, UserId } from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { hasTags } from "../devices/tag_filter.ts";

/** What people ask for of a job `j` that stands in `jobs`. */
export interface JobFilter {
  readonly siteId?: SiteId | undefined;
  readonly deviceId?: DeviceId | undefined;
  readonly kind?: readonly JobKind[] | undefined;
  /** A tag expression over its device. */
  readonly tags?: string | undefined;
  readonly policyId?: PolicyId | undefined;
  readonly requestedBy?: UserId | undefined;
  /** When it was ordered: from then on, and before. */
  readonly from?: string | undefined;
  readonly until?: string | undefined;
}

/** Ids begin with the time at which a replica made them: a range of them is read by their index, the exact time decides. */
const CLOCKS_DIFFER_MS = 3_600_000;

/** The condition, `and` first; nothing when nothing is asked for. */
export function fulfils(filter: JobFilter): RawBuilder<unknown> {
  const { siteId, deviceId, kind, tags, policyId, requestedBy, from, until } = filter;
  const conditions = [
    siteId && sql`j.site_id = ${siteId}`,
    deviceId && sql`j.device_id = ${deviceId}`,
    kind && sql`j.kind = any(${[...kind]}::text[])`,
    tags !== undefined && hasTags("j.device_id", tags),
    policyId && sql`j.policy_id = ${policyId}`,
    requestedBy && sql`j.requested_by = ${requestedBy}`,
    from && sql`j.created_at >= ${from}::timestamptz and j.id >= ${idAt(from, -CLOCKS_DIFFER_MS)}`,
    until && sql`j.created_at < ${until}::timestamptz and j.id < ${idAt(until, CLOCKS_DIFFER_MS)}`,
  ].filter((condition) => condition !== undefined && condition !== false && condition !== "");
  return conditions.length === 0 ? sql`` : sql`and ${sql.join(conditions, sql` and `)}`;
}

/** The least UUIDv7 of a time (RFC 9562). */
function idAt(time: string, shiftMs: number): string {
  const ms = Math.min(Math.max(0, Date.parse(time) + shiftMs), 2 ** 48 - 1);
  const hex = ms.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

/** The same of a row of `done` or `leases` that carries the reason. */
export function isOneOf(column: RawBuilder<unknown>, codes: readonly FailureCode[] | undefined) {
  return codes ? sql`and ${column} = any(${[...codes]}::text[])` : sql``;
}
