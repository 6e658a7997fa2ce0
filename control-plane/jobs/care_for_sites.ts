/**
 * Care for devices that have too much to do: a site whose devices stop answering is given half as many sessions, and one
 * more after each quiet minute (additive increase, multiplicative decrease: D.-M. Chiu and R. Jain, 1989).
 */
import { type Kysely, sql } from "kysely";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";

/** What a device that is there and busy looks like from outside: it does not even answer. */
const TIMEOUTS: readonly FailureCode[] = ["connect_timed_out", "banner_timed_out"];
const WINDOW_SECONDS = 60;
/** Fewer devices than this that time out in a window are dead, and no sign of a site in need. */
const LEAST_DEVICES = 3;
/** And fewer than this share of the sessions that the site may have. */
const LEAST_SHARE = 0.2;
/** The sessions of one wave time out together: they count once. */
const PAUSE_SECONDS = 30;

interface TimedOut {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
}

/** Notes a failure of a device, and halves the limit of its site when too many time out. */
export async function noteConnectFailure(
  db: Kysely<Database>,
  { siteId, deviceId }: TimedOut,
  code: FailureCode,
): Promise<void> {
  if (!TIMEOUTS.includes(code)) return;
  await inTransaction(db, async (tx) => {
    await sql`select 1 from sites where id = ${siteId} for no key update`.execute(tx);
    await sql`
      insert into connect_timeouts (site_id, device_id, at)
      values (${siteId}, ${deviceId}, clock_timestamp())
      on conflict (site_id, device_id) do update set at = excluded.at`.execute(tx);
    await sql`
      update sites s set live_limit = greatest(1, now_limit / 2), live_limit_at = clock_timestamp()
      from (select least(max_live, coalesce(live_limit, max_live)) as now_limit from sites
        where id = ${siteId}) x
      where s.id = ${siteId}
        and (s.live_limit_at is null or s.live_limit_at < ${ago(PAUSE_SECONDS)})
        and (select count(*) from connect_timeouts t where t.site_id = s.id
            and t.at > greatest(${ago(WINDOW_SECONDS)}, coalesce(s.live_limit_at, '-infinity')))
          >= greatest(${LEAST_DEVICES}::int, ceil(now_limit * ${LEAST_SHARE}::float))`.execute(tx);
  });
}

/** Gives one session more to every site that was quiet for a minute. Twice is as good as once. */
export async function raiseLimits(db: Kysely<Database>): Promise<number> {
  const { numAffectedRows } = await sql`
    update sites s set live_limit_at = clock_timestamp(),
      live_limit = case when live_limit + 1 < max_live then live_limit + 1 end
    where live_limit is not null and live_limit_at < ${ago(WINDOW_SECONDS)}
      and not exists (select 1 from connect_timeouts t
        where t.site_id = s.id and t.at > ${ago(WINDOW_SECONDS)})`.execute(db);
  return Number(numAffectedRows ?? 0n);
}

/** Rows that count for nothing any more. */
export async function forgetTimeouts(db: Kysely<Database>): Promise<void> {
  await sql`delete from connect_timeouts where at < ${ago(3_600)}`.execute(db);
}

function ago(seconds: number) {
  return sql`clock_timestamp() - make_interval(secs => ${seconds}::int)`;
}
