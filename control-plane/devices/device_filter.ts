import { type Kysely, type RawBuilder, sql, type SqlBool } from "kysely";
import type { BackupStatus } from "@rookery/shared/api/devices.ts";
import type { DeviceId, SiteId, TenantId } from "@rookery/shared/ids.ts";
import { escapeLike } from "../database/like.ts";
import type { Database } from "../database/schema.ts";
import { findTags, hasKnownTags } from "./tag_filter.ts";

/** What people ask for of a row of `devices`; all that is given must fit. */
export interface DeviceFilter {
  readonly tenantId?: TenantId | undefined;
  readonly siteId?: SiteId | undefined;
  readonly platform?: string | undefined;
  /** A tag expression. */
  readonly tags?: string | undefined;
  readonly status?: BackupStatus | undefined;
  /** The last verified backup is at least so old, or there is none. */
  readonly staleHours?: number | undefined;
  readonly unsaved?: boolean | undefined;
  /** In the name, the address or the notes. */
  readonly text?: string | undefined;
  readonly owner?: string | undefined;
  /** Patterns with `*` and `?`. */
  readonly model?: string | undefined;
  readonly serialNumber?: string | undefined;
  readonly osVersion?: string | undefined;
  readonly deviceIds?: readonly DeviceId[] | undefined;
  /** Only archived ones, only those in use, or both. */
  readonly archived?: boolean | undefined;
  /** Where the page before ended. */
  readonly after?: DeviceId | undefined;
}

/** The conditions of a filter; there is an index for each of them. */
export async function conditionsOf(
  db: Kysely<Database>,
  filter: DeviceFilter,
): Promise<RawBuilder<SqlBool>[]> {
  const { tenantId, siteId, platform, tags, text, owner, deviceIds, archived, after } = filter;
  const known = tags === undefined ? undefined : await findTags(db, tags);
  const sites = tenantId === undefined ? undefined : await sitesOf(db, tenantId);
  return [
    after !== undefined && sql<SqlBool>`devices.id > ${after}`,
    deviceIds && sql<SqlBool>`devices.id = any(${[...deviceIds]}::uuid[])`,
    sites && sql<SqlBool>`devices.site_id = any(${sites}::uuid[])`,
    siteId !== undefined && sql<SqlBool>`devices.site_id = ${siteId}`,
    platform !== undefined && sql<SqlBool>`devices.platform = ${platform}`,
    tags !== undefined && known && hasKnownTags("devices.id", { tags, known }),
    text !== undefined && containsText(text),
    owner !== undefined &&
    sql<SqlBool>`devices.owner <> '' and lower(devices.owner) = lower(${owner})`,
    archived === true && sql<SqlBool>`devices.archived_at is not null`,
    archived === false && sql<SqlBool>`devices.archived_at is null`,
    hasStatus(filter),
    hasFacts(filter),
  ].filter((condition) => condition !== false && condition !== undefined);
}

/** Named in the statement, so that the planner knows how many devices they have. */
async function sitesOf(db: Kysely<Database>, tenantId: TenantId): Promise<SiteId[]> {
  const rows = await db.selectFrom("sites").select("id").where("tenantId", "=", tenantId).execute();
  return rows.map(({ id }) => id);
}

/** A text too short for an index of trigrams is looked for at the beginning of names, addresses and lines only. */
const LEAST_WITHIN = 3;

/** First as the index devices_text has it, which takes some characters for others; then as it is. */
function containsText(text: string): RawBuilder<SqlBool> {
  const begin = [...text].length < LEAST_WITHIN ? "%\n" : "%";
  const pattern = sql`lower(${`${begin}${escapeLike(text)}%`}::text)`;
  const lines = sql`device_lines(devices.name, devices.host, devices.notes)`;
  return sql<SqlBool>`(as_letters(${lines}) like as_letters(${pattern})
    and ${lines} like ${pattern})`;
}

/** `after` too, as in `hasStatus`: the facts may be what a page is read by. */
function hasFacts(
  { model, serialNumber, osVersion, after }: DeviceFilter,
): RawBuilder<SqlBool> | undefined {
  const conditions = [
    model !== undefined && sql`lower(f.model) like ${asLike(model)}`,
    serialNumber !== undefined && sql`lower(f.serial_number) like ${asLike(serialNumber)}`,
    osVersion !== undefined && sql`lower(f.os_version) like ${asLike(osVersion)}`,
  ].filter((condition) => condition !== false);
  if (conditions.length === 0) return undefined;
  if (after !== undefined) conditions.push(sql`f.device_id > ${after}`);
  return sql<SqlBool>`exists (select 1 from device_facts f
    where f.device_id = devices.id and ${sql.join(conditions, sql` and `)})`;
}

/** As the function as_like: a parameter shows the planner where the pattern begins. */
function asLike(pattern: string): string {
  return escapeLike(pattern.toLowerCase()).replaceAll("*", "%").replaceAll("?", "_");
}

/** Its own index has the order of the devices, too: the page begins where that of the devices does. */
function hasStatus(
  { status, staleHours, unsaved, after }: DeviceFilter,
): RawBuilder<SqlBool> | undefined {
  const conditions = [
    status === "never" && sql`s.last_outcome is null`,
    status !== undefined && status !== "never" && sql`s.last_outcome = ${status}`,
    staleHours !== undefined && sql`(s.last_verified_at is null
      or s.last_verified_at <= now() - make_interval(hours => ${staleHours}))`,
    unsaved !== undefined && sql`s.unsaved = ${unsaved}`,
  ].filter((condition) => condition !== false);
  if (conditions.length === 0) return undefined;
  if (after !== undefined) conditions.push(sql`s.device_id > ${after}`);
  return sql<SqlBool>`exists (select 1 from device_status s
    where s.device_id = devices.id and ${sql.join(conditions, sql` and `)})`;
}
