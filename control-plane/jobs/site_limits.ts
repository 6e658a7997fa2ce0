/** What a claim may take at a site now: its limits, as they stand under the site's lock. */
import { sql, type Transaction } from "kysely";
import type { SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";

/** Starts that can be saved up: those of ten seconds. */
const SAVED_SECONDS = 10;

export interface SiteLimits {
  readonly siteId: SiteId;
  /** Sessions at the same time: what the site says, or less while its devices time out. */
  readonly maxLive: number;
  readonly queueVersion: number;
  /** Sessions that may start now; null: any number. */
  readonly starts: number | null;
  /** Some of its devices may be touched at certain times only: what is passed over now may be granted later. */
  readonly hasWindows: boolean;
}

/** Locks the site; undefined when nothing is granted there: it is paused, or all of Rookery is in maintenance. */
export async function lockSiteLimits(
  tx: Transaction<Database>,
  siteId: SiteId,
): Promise<SiteLimits | undefined> {
  const { rows: [site] } = await sql<SiteLimits>`
    select id as site_id, least(max_live, coalesce(live_limit, max_live)) as max_live,
      queue_version, floor(${savedStarts})::int as starts, exists (select 1 from devices d
        where d.site_id = sites.id and d.windows is not null) as has_windows
    from sites
    where id = ${siteId} and not paused and not exists (select 1 from installation where maintenance)
    for no key update`.execute(tx);
  return site;
}

/**
 * Starts that a row of sites has saved up by now; null: any number. A whole one at least can be, or a slow rate would never
 * give any.
 */
export const savedStarts = sql`(case when starts_per_minute is not null then least(
  greatest(1, starts_per_minute * ${SAVED_SECONDS}::float / 60),
  starts_left + starts_per_minute / 60.0 * extract(epoch from clock_timestamp() - starts_at)) end)`;

/** Takes what was granted from the starts that are saved up; the site is locked. */
export async function spendStarts(
  tx: Transaction<Database>,
  { siteId, starts }: SiteLimits,
  granted: number,
): Promise<void> {
  if (starts === null || granted === 0) return;
  await sql`
    update sites set starts_left = ${savedStarts} - ${granted}::int, starts_at = clock_timestamp()
    where id = ${siteId}`.execute(tx);
}
