/** Which revisions retention takes, and how they go. */
import { type Kysely, type RawBuilder, sql, type Transaction } from "kysely";
import type { RetentionPreview } from "@rookery/shared/api/retention.ts";
import type { DeviceId, RevisionId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { type Scope, whereVisible } from "../permissions/scope.ts";

/** The newest accepted ones of each capture stay, and so does what was seen within so many days. */
export interface RetentionLimits {
  readonly last: number;
  readonly days: number;
}

/**
 * Revisions that nothing keeps. The one with the highest number stays whatever it is, so that no number comes twice; what
 * waits in quarantine stays until somebody has decided.
 */
function oldOnes({ last, days }: RetentionLimits, of: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    select r.id, r.site_id, r.device_id, r.raw_sha256, r.bytes from (
      select id, site_id, device_id, raw_sha256, bytes, state, pinned, number, last_seen_at,
        count(*) filter (where state = 'accepted') over (
          partition by device_id, capture order by number desc) as place,
        max(number) over capture_of as newest,
        max(last_seen_at) filter (where state = 'accepted') over capture_of as verified_at
      from revisions where ${of}
      window capture_of as (partition by device_id, capture)
    ) r
    where not r.pinned and r.state <> 'quarantined' and r.number < r.newest
      and (r.state = 'rejected' or r.place > ${last})
      and r.last_seen_at < now() - make_interval(days => ${days})
      and r.last_seen_at is distinct from r.verified_at
      and not exists (select from current_texts t where t.revision_id = r.id)
      and not exists (select from device_status s
        where s.device_id = r.device_id and s.revision_id = r.id)`;
}

/** Devices that one statement counts of: a statement over a million revisions would take longer than any may. */
const COUNTED_AT_ONCE = 2_000;

/** Counts what would go, of the sites that the caller may see. */
export async function countOld(
  db: Kysely<Database>,
  { scope, ...limits }: RetentionLimits & { readonly scope: Scope },
): Promise<RetentionPreview> {
  const counted = { revisions: 0, devices: 0, bytes: 0 };
  let after: DeviceId | undefined;
  do {
    const deviceIds = await readDevices(db, { scope, after, limit: COUNTED_AT_ONCE });
    const { rows: [row] } = await sql<Record<keyof typeof counted, string>>`
      select count(*) as revisions, count(distinct device_id) as devices,
        coalesce(sum(bytes), 0) as bytes
      from (${oldOnes(limits, among(deviceIds))}) old`.execute(db);
    counted.revisions += Number(row?.revisions ?? 0);
    counted.devices += Number(row?.devices ?? 0);
    counted.bytes += Number(row?.bytes ?? 0);
    after = deviceIds.length === COUNTED_AT_ONCE ? deviceIds.at(-1) : undefined;
  } while (after !== undefined);
  return { ...limits, ...counted };
}

/** The next devices after one, in the order in which retention visits them. */
export async function readDevices(
  db: Kysely<Database>,
  { scope, after, limit }: {
    readonly scope: Scope;
    readonly after?: DeviceId | undefined;
    readonly limit: number;
  },
): Promise<readonly DeviceId[]> {
  const query = db.selectFrom("devices").select("id").orderBy("id").limit(limit)
    .$if(after !== undefined, (rest) => rest.where("id", ">", after as DeviceId));
  const rows = await whereVisible(query, "devices.siteId", scope).execute();
  return rows.map(({ id }) => id);
}

/** A revision that is gone. */
export interface GoneRevision {
  readonly id: RevisionId;
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly rawSha256: Sha256;
}

/**
 * Deletes the old ones of these devices. What a device is being read for stays for the next run: its agent may just have
 * been told that it need not send a content, because a revision has it.
 */
export async function deleteOld(
  tx: Transaction<Database>,
  { deviceIds, ...limits }: RetentionLimits & { readonly deviceIds: readonly DeviceId[] },
): Promise<readonly GoneRevision[]> {
  const found = await sql<{ deviceId: DeviceId }>`
    select distinct device_id as "deviceId" from (${oldOnes(limits, among(deviceIds))}) old`
    .execute(tx);
  const affected = found.rows.map(({ deviceId }) => deviceId);
  if (affected.length === 0) return [];
  // As whoever records a result or decides does, and several in this order.
  await sql`select from device_status where device_id = any(${affected}::uuid[])
    order by device_id for update`.execute(tx);
  const { rows } = await sql<GoneRevision>`
    with gone as (
      delete from revisions where id in (
        select id from (${oldOnes(limits, among(affected))}) old
        where not exists (select from leases l
          where l.site_id = old.site_id and l.device_id = old.device_id)
      ) returning id, site_id, device_id, raw_sha256
    ), marked as (
      update blobs b set orphaned_at = clock_timestamp() from gone g
      where b.site_id = g.site_id and b.sha256 = g.raw_sha256
    )
    select id, site_id as "siteId", device_id as "deviceId", raw_sha256 as "rawSha256" from gone`
    .execute(tx);
  return rows;
}

function among(deviceIds: readonly DeviceId[]): RawBuilder<unknown> {
  return sql`device_id = any(${[...deviceIds]}::uuid[])`;
}
